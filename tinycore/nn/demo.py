"""The demo: a convolutional network learns to read handwritten digits, and says how fast.

Comes in: the words of a command line. Goes out: the accuracy on the test images, in the last line.
"""

import json
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tinycore.errors import TinycoreError
from tinycore.nn.datasets import mnist
from tinycore.nn.layers import BatchNorm, Conv2d, Linear
from tinycore.nn.optim import Adam
from tinycore.nn.state import get_parameters
from tinycore.runtime.buffer import GlobalCounters
from tinycore.runtime.registry import Device
from tinycore.tensor import Tensor, TinyJit
from tinycore.util import np

Network = Callable[[Tensor], Tensor]

_TEST_BATCH = 500
_RATE = 0.001
_BAR_WIDTH = 30
_REDRAW_S = 0.2


class Net:
    """Two blocks of two convolutions, then a linear layer.

    Shapes: images (n, 1, 28, 28) give (n, 10).
    """

    def __init__(self) -> None:
        self.layers: list[Network] = [
            Conv2d(1, 32, 5),
            Tensor.relu,
            Conv2d(32, 32, 5),
            Tensor.relu,
            BatchNorm(32),
            Tensor.max_pool2d,
            Conv2d(32, 64, 3),
            Tensor.relu,
            Conv2d(64, 64, 3),
            Tensor.relu,
            BatchNorm(64),
            Tensor.max_pool2d,
            lambda x: x.flatten(1),
            Linear(576, 10),
        ]

    def __call__(self, x: Tensor) -> Tensor:
        brightness = x.float() / 255
        return brightness.sequential(self.layers)


class Phases:
    """Seconds spent on each part of the work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of a `with` block to a part."""
        start_s = time.perf_counter()
        try:
            yield
        finally:
            spent_s = time.perf_counter() - start_s
            before_s = self.seconds.get(name, 0.0)
            self.seconds[name] = before_s + spent_s


class Trainer:
    """A network, its optimizer and the images, with the two functions that are captured."""

    def __init__(self, net: Network, images: Sequence[Tensor]) -> None:
        self.net = net
        self.images, self.labels, self.test_images, self.test_labels = images
        self.optimizer = Adam(get_parameters(net), lr=_RATE)
        self.step = TinyJit(self._step)
        self.right = TinyJit(self._right)

    def _step(self, chosen: Tensor) -> Tensor:
        """Learn from the images of these numbers; returns the loss."""
        with Tensor.train():
            self.optimizer.zero_grad()
            guesses = self.net(self.images[chosen])
            loss = guesses.cross_entropy(self.labels[chosen])
            loss.backward()
            return loss.realize(*self.optimizer.schedule_step())

    def _right(self, chosen: Tensor) -> Tensor:
        with Tensor.train(False), Tensor.no_grad():
            scores = self.net(self.test_images[chosen])
            guesses = scores.argmax(1)
            is_right = guesses.eq(self.test_labels[chosen])
            return is_right.sum().realize()

    def accuracy(self) -> float:
        """The part of the test images that is read right."""
        count = len(self.test_labels)
        numbers = np().arange(count, dtype="int32")
        total = 0
        for at in range(0, count, _TEST_BATCH):
            chosen = numbers[at : at + _TEST_BATCH]
            total += int(self.right(Tensor(chosen)))
        return total / count


class Bar:
    """The progress, as a line that is drawn again; ten lines without a terminal."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.start_s = self.last_s = time.perf_counter()
        self.redraws = sys.stdout.isatty()

    def show(self, done: int, loss: Tensor, images: int) -> None:
        """Draw the bar, unless it was drawn just now."""
        now_s = time.perf_counter()
        is_last = done == self.total
        is_due = done * 10 % self.total < 10  # a tenth is full
        if self.redraws:
            is_due = is_last or now_s - self.last_s > _REDRAW_S
        if not is_due:
            return
        self.last_s = now_s
        filled = "#" * (_BAR_WIDTH * done // self.total)
        rate = images / (now_s - self.start_s)
        line = f"[{filled:-<{_BAR_WIDTH}}] {done}/{self.total}  loss {loss.item():.3f}"
        end = "\r" if self.redraws and not is_last else "\n"
        print(f"{line}  {rate:.0f} images/s", end=end, flush=True)


def positive(text: str) -> int:
    """A number of 1 or more."""
    found = int(text)
    if found < 1:
        raise ArgumentTypeError(f"{found} is too few; expected 1 or more")
    return found


def add_arguments(parser: ArgumentParser) -> None:
    """The options of the demo."""
    parser.add_argument("--epochs", type=positive, default=1, help="times over the training images")
    parser.add_argument("--batch", type=positive, default=128, help="images a step")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    parser.add_argument("--json", action="store_true", help="print the figures alone, as JSON")


def main(argv: Sequence[str] | None = None, make_net: Callable[[], Network] = Net) -> int:
    """Train, test and report; returns the exit status."""
    parser = ArgumentParser(prog="tinycore demo", description="Learn to read digits.")
    add_arguments(parser)
    options = parser.parse_args(argv)
    try:
        return run(options, make_net)
    except TinycoreError as error:
        print(f"tinycore demo: {error}", file=sys.stderr)
        return 1


def run(options: Namespace, make_net: Callable[[], Network] = Net) -> int:
    """main, with options already read.

    Raises: DatasetError without images.
    """
    phases = Phases()
    device = Device[Device.DEFAULT]
    if not options.json:
        print(f"device {device.name}: {device.plugin.source}, {device.target.arch}", flush=True)
    Tensor.manual_seed(options.seed)
    with phases.part("data"):
        images = mnist()
    trainer = Trainer(make_net(), images)
    timed, kernels = train(trainer, options, phases)
    with phases.part("test"):
        accuracy = trainer.accuracy()
    rate = timed / max(phases.seconds["run"], 1e-9)
    spent = phases.seconds.items()
    seconds = {name: round(spent_s, 2) for name, spent_s in spent}
    if options.json:
        figures = {
            "device": device.name,
            "plugin": device.plugin.source,
            "kernels": kernels,
            "images_per_s": rate,
            "seconds": seconds,
            "test_accuracy": accuracy,
        }
        print(json.dumps(figures))
        return 0
    print(f"{kernels} kernels a step, {rate:.0f} images/s")
    parts = [f"{name} {spent_s} s" for name, spent_s in seconds.items()]
    print(", ".join(parts))
    print(f"test accuracy {100 * accuracy:.2f} %")
    return 0


def train(trainer: Trainer, options: Namespace, phases: Phases) -> tuple[int, int]:
    """All epochs; returns the images of the phase "run", and the kernels of a step."""
    numbers = np().random.default_rng(options.seed)
    count = len(trainer.labels)
    batch = options.batch
    batches = []
    for _ in range(options.epochs):
        order = numbers.permutation(count).astype("int32")
        whole = order[: count // batch * batch]
        batches += [*whole.reshape(-1, batch)]
    bar = Bar(len(batches))
    kernels = 0
    phases.seconds |= {"compile": 0.0, "run": 0.0}
    for number, chosen in enumerate(batches):
        # the first call runs as written, the second is captured, the others are replays
        with phases.part("compile" if number < 2 else "run"):
            if number == len(batches) * 3 // 4:
                trainer.optimizer.lr.assign([_RATE / 10]).realize()
            before = GlobalCounters.kernel_count
            loss = trainer.step(Tensor(chosen))
            kernels = GlobalCounters.kernel_count - before
            if not options.json:
                bar.show(number + 1, loss, (number + 1) * batch)
    replays = max(len(batches) - 2, 0)
    return replays * batch, kernels
