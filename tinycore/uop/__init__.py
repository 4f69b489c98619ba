"""The compiler's data: nodes, index values, patterns, kernel trees and their text.

In: `from tinycore.uop import UOp, Ops, Nodes, UPat, PatternMatcher, graph_rewrite`. Out: the same
names. Next file: ops.py.
"""

from tinycore.uop.ops import Nodes, Ops, UOp
from tinycore.uop.upat import PatternMatcher, UPat, graph_rewrite

__all__ = [
    "Nodes",
    "Ops",
    "PatternMatcher",
    "UOp",
    "UPat",
    "graph_rewrite",
]
