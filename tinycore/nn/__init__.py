"""Neural networks: layers, optimizers, states, data sets.

Comes in: sizes and tensors. Goes out: objects to call and to train. Next floor: cli/.
"""

from tinycore.nn import datasets as datasets
from tinycore.nn import optim as optim
from tinycore.nn import state as state
from tinycore.nn.layers import Conv1d as Conv1d
from tinycore.nn.layers import Conv2d as Conv2d
from tinycore.nn.layers import Conv3d as Conv3d
from tinycore.nn.layers import Embedding as Embedding
from tinycore.nn.layers import Linear as Linear
from tinycore.nn.norms import BatchNorm as BatchNorm
from tinycore.nn.norms import BatchNorm2d as BatchNorm2d
from tinycore.nn.norms import BatchNorm3d as BatchNorm3d
from tinycore.nn.norms import GroupNorm as GroupNorm
from tinycore.nn.norms import LayerNorm as LayerNorm
from tinycore.nn.norms import RMSNorm as RMSNorm
