"""Neural networks: layers, optimizers, states, data sets.

Comes in: sizes and tensors. Goes out: objects to call and to train. Parameters ask for a gradient
once an optimizer takes them. Next floor: cli/.
"""

from tinycore.nn import datasets as datasets, optim as optim, state as state
from tinycore.nn.layers import (
    BatchNorm as BatchNorm,
    BatchNorm2d as BatchNorm2d,
    BatchNorm3d as BatchNorm3d,
    Conv1d as Conv1d,
    Conv2d as Conv2d,
    Conv3d as Conv3d,
    Embedding as Embedding,
    GroupNorm as GroupNorm,
    LayerNorm as LayerNorm,
    Linear as Linear,
    RMSNorm as RMSNorm,
)
