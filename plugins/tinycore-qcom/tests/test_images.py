"""What is read through images is what is read from buffers, on a real runtime."""

import json
import os
import subprocess
import sys

import pytest

from tinycore_qcom.images import image_places, padded, parted, with_places

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


@pytest.mark.parametrize("size", [1, 16, 65536, 65537, 1 << 20])
def test_a_buffer_holds_whole_rows_of_its_image(size: int) -> None:
    assert padded(size) >= size
    assert padded(size) == size if size <= 65536 else padded(size) % 65536 == 0


def test_a_binary_says_which_arguments_are_images() -> None:
    source = (
        "void help(write_only image2d_t b, long at) {\n}\n__kernel __attribute__((of(1)))\n"
        "void k(read_only image2d_t b1, __global float *restrict b2, write_only image2d_t b3) {\n"
    )
    assert parted(with_places(b"\x7fELF", image_places(source))) == (b"\x7fELF", {0, 2})
    assert parted(b"\x7fELF") == (b"\x7fELF", set())
