"""Patterns, matchers and rewriting under the one name that authors of rules import from.

Comes in: nothing. Goes out: `UPat` and `Rule` (uop/pattern.py), `PatternMatcher`, `graph_rewrite`
and `sweep` (uop/rewrite.py). Next file: pattern.py.
"""

from tinycore.uop.pattern import Rule, UPat
from tinycore.uop.rewrite import PatternMatcher, graph_rewrite, sweep

__all__ = ["PatternMatcher", "Rule", "UPat", "graph_rewrite", "sweep"]
