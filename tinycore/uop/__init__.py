"""The compiler's data: nodes, index values, patterns, kernel trees and their text.

The first file to read is table.py.
"""

from tinycore.uop.ops import Nodes as Nodes, Ops as Ops, UOp as UOp
from tinycore.uop.upat import (
    PatternMatcher as PatternMatcher,
    UPat as UPat,
    graph_rewrite as graph_rewrite,
)
