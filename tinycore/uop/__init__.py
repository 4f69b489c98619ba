"""The compiler's data: nodes, index values, patterns, kernel trees and their text.

The first file to read is table.py.
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
