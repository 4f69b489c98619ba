"""The demo trains, tests and tells: on a small set that anyone could learn."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinycore.errors import DatasetError
from tinycore.nn import Linear, demo
from tinycore.nn.state import get_parameters
from tinycore.tensor import Tensor


class Small:
    """A network that compiles fast."""

    def __init__(self) -> None:
        self.layer = Linear(784, 10)

    def __call__(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1).float() / 255)


@pytest.fixture
def bright_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images whose class is the row that is bright."""
    rng = np.random.default_rng(1)

    def images(count: int) -> tuple[Tensor, Tensor]:
        labels = rng.integers(0, 10, count).astype(np.uint8)
        pixels = rng.integers(0, 50, (count, 1, 28, 28)).astype(np.uint8)
        pixels[np.arange(count), 0, labels * 2] = 250
        return Tensor(pixels), Tensor(labels)

    monkeypatch.setattr(demo, "mnist", lambda: (*images(2000), *images(1000)))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert demo.main(words, Small) == 0
    return capsys.readouterr().out


def test_it_reports_device_phases_and_accuracy(
    bright_rows: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(capsys, "--batch", "50", "--epochs", "2").splitlines()
    device = Tensor([1]).device
    assert lines[0].startswith(f"device {device}: ")
    assert lines[1].startswith("[###---------------------------] 8/80  loss ")
    assert lines[-4].startswith("[##############################] 80/80  loss ")
    kernels, _ = lines[-3].split(" kernels a step, ")
    assert int(kernels) > 0
    assert [part.split()[0] for part in lines[-2].split(", ")] == ["data", "compile", "run", "test"]
    percent = float(lines[-1].removeprefix("test accuracy ").removesuffix(" %"))
    assert percent > 95


def test_figures_can_be_had_as_json(
    bright_rows: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = run(capsys, "--json", "--batch", "100").splitlines()
    figures = json.loads(line)
    assert list(figures) == [
        "device",
        "plugin",
        "kernels",
        "images_per_s",
        "seconds",
        "test_accuracy",
    ]
    assert 0.5 < figures["test_accuracy"] <= 1


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        demo.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--epochs", "--batch", "--seed", "--json"))


def test_without_images_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise DatasetError("MNIST: it is not in the cache")

    monkeypatch.setattr(demo, "mnist", missing)
    assert demo.main([]) == 1
    assert capsys.readouterr().err == "tinycore demo: MNIST: it is not in the cache\n"


def test_the_example_trains_the_network_of_the_demo() -> None:
    path = Path(__file__).parents[2] / "examples" / "mnist.py"
    example = runpy.run_path(str(path))["Net"]()
    images = Tensor.zeros(1, 1, 28, 28, dtype="uint8")
    assert example(images).shape == (1, 10)
    shapes = [tensor.shape for tensor in get_parameters(example)]
    assert shapes == [tensor.shape for tensor in get_parameters(demo.Net())]


@pytest.mark.parametrize("option", ["--batch", "--epochs"])
def test_a_number_below_one_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main([option, "0"])
    assert f"argument {option}: 0 is too few; expected 1 or more" in capsys.readouterr().err
