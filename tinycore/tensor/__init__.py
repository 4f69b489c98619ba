"""Tensors: what users compute with; each topic is a file, tensor.py joins them.

Comes in: data and calls. Goes out: `Tensor` and `TinyJit`. Next floor: nn/.
"""

from tinycore.tensor.jit import TinyJit as TinyJit
from tinycore.tensor.tensor import Tensor as Tensor, Variable as Variable
