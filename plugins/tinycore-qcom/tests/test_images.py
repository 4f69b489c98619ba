"""What is read through images is what is read from buffers, on a real runtime."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from tinycore_qcom.api import Library, OpenCLError
from tinycore_qcom.images import (
    description,
    image_places,
    padded,
    parted,
    pitch_alignment,
    with_places,
)
from tinycore_qcom.memory import Memory
from tinycore_qcom.platforms import Found
from tinycore_qcom.queue import Queue

FORWARD = """
import json, sys
import numpy as np
from tinycore import Device, Tensor

numbers = np.random.default_rng(0)


def tensor(*shape):
    return Tensor(numbers.standard_normal(shape, dtype="f4"))


images, last = tensor(4, 3, 28, 28), tensor(10, 3872)
first, second = tensor(16, 3, 5, 5), tensor(32, 16, 3, 3)
found = images.conv2d(first).relu().max_pool2d().conv2d(second, padding=1).relu()
scores = found[:, :, :11, :11].reshape(4, -1) @ last.T
ragged = tensor(70000, 3)
values = [scores.log_softmax(-1), ragged[:, :1] + ragged.sum(1, keepdim=True), tensor(5).exp()]
caps = Device["CL"].caps
result = [caps.image_reads, [value.numpy().tobytes().hex() for value in values]]
print("RESULT" + json.dumps(result))
"""


def forward(plan: str) -> tuple[bool, list[str], str]:
    """Whether images are preferred, the bytes of some results, and all that was printed."""
    environment = os.environ | {"CL_PLAN": plan, "DEV": "CL", "DEBUG": "4", "CCACHE": "0"}
    command = [sys.executable, "-c", FORWARD]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    source, _, result = told.stdout.rpartition("RESULT")
    prefers, values = json.loads(result)
    return prefers, values, source


def test_a_convnet_reads_and_writes_images_and_computes_the_same_bits() -> None:
    plain, expected, source = forward("gpu")
    assert not plain
    assert "image2d_t b" not in source
    prefers, found, source = forward("adreno")
    assert prefers
    assert "read_only image2d_t b" in source
    assert "texel_float4(b" in source
    assert "write_only image2d_t b" in source
    assert "write_texel(b" in source
    assert found == expected


ALIGNMENTS = 1, 16, 64, 4096


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("size", [1, 16, 1000, 65535, 65536, 65537, 1 << 20])
def test_a_buffer_holds_its_image_whole_in_rows_of_the_drivers_alignment(
    size: int, alignment: int
) -> None:
    room = padded(size, alignment)
    made = description(0, room, alignment)
    assert room >= size
    assert made.width % alignment == 0
    assert made.row == 16 * made.width
    assert made.row * made.height == room
    assert made.width == 4096 if made.height > 1 else made.width <= 4096


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_the_image_of_a_part_is_never_cut(alignment: int) -> None:
    for size in (24, 1000, 65544):
        made = description(0, size, alignment)
        assert made.row * made.height >= size


@pytest.mark.parametrize(("told", "alignment"), [(64, 64), (0, 1)])
def test_a_driver_that_tells_no_alignment_has_none(
    found: Found, monkeypatch: pytest.MonkeyPatch, told: int, alignment: int
) -> None:
    monkeypatch.setattr(Library, "number_of", lambda *question: told * (question[-1] == 0x104A))
    assert pitch_alignment(replace(found, name=f"rows of {told}")) == alignment


def test_a_binary_says_which_arguments_are_images() -> None:
    source = (
        "void help(write_only image2d_t b, long at) {\n}\n__kernel __attribute__((of(1)))\n"
        "void k(read_only image2d_t b1, __global float *restrict b2, write_only image2d_t b3) {\n"
    )
    assert parted(with_places(b"\x7fELF", image_places(source))) == (b"\x7fELF", {0, 2})
    assert parted(b"\x7fELF") == (b"\x7fELF", set())


def test_two_threads_make_one_image(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(1, 64)
    made: list[int] = []

    def create(queue: Queue, buffer: int, size_bytes: int) -> int:
        made.append(len(made) + 1)
        if len(made) == 1:
            other.start()
            other.join(timeout=0.2)
        return made[-1]

    other = threading.Thread(target=memory.image, args=(queue,))
    monkeypatch.setattr("tinycore_qcom.memory.make_image", create)
    memory.image(queue)
    other.join()
    assert (made, memory.view) == ([1], 1)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (-9, "IMAGE_FORMAT_MISMATCH"),
        (-10, "IMAGE_FORMAT_NOT_SUPPORTED"),
        (-39, "INVALID_IMAGE_FORMAT_DESCRIPTOR"),
        (-40, "INVALID_IMAGE_SIZE"),
        (-65, "INVALID_IMAGE_DESCRIPTOR"),
    ],
)
def test_what_is_wrong_with_an_image_has_a_name(code: int, name: str) -> None:
    assert str(OpenCLError("clCreateImage", code)) == f"clCreateImage gave {name} ({code})"
