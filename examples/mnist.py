"""Learns to read handwritten digits: `python examples/mnist.py`, or --help.

Comes in: nothing; the images are fetched once. Goes out: the accuracy on 10,000 images never seen.
tinycore/nn/demo.py holds the loop, this file the network: change it and run again.
"""

import sys
from collections.abc import Callable

from tinycore import Tensor, nn
from tinycore.nn.demo import main


class Net:
    """Two blocks of two convolutions, then one linear layer: (n, 1, 28, 28) gives (n, 10)."""

    def __init__(self) -> None:
        self.layers: list[Callable[[Tensor], Tensor]] = [
            nn.Conv2d(1, 32, 5),
            Tensor.relu,
            nn.Conv2d(32, 32, 5),
            Tensor.relu,
            nn.BatchNorm(32),
            Tensor.max_pool2d,
            nn.Conv2d(32, 64, 3),
            Tensor.relu,
            nn.Conv2d(64, 64, 3),
            Tensor.relu,
            nn.BatchNorm(64),
            Tensor.max_pool2d,
            lambda x: x.flatten(1),
            nn.Linear(576, 10),
        ]

    def __call__(self, images: Tensor) -> Tensor:
        return (images.float() / 255).sequential(self.layers)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Net))
