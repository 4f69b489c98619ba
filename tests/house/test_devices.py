"""No device is named in the core: what differs by device is a capability."""

from pathlib import Path

import pytest

from tests.house.checks import added, holds
from tools import devices

PLACE = "tinycore/uop/broken.py"


def test_the_core_names_no_device(tree: Path) -> None:
    holds(devices.check(tree))


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ('DEFAULT = "CUDA"', "CUDA"),
        ("is_cpu = True", "is_cpu"),
        ("class MetalRenderer: pass", "MetalRenderer"),
        ('MESSAGE = f"try DEV=AMD:1"', "AMD"),
        ("GPU = 1", "GPU"),
    ],
)
def test_a_device_in_the_code_is_named(copied_tree: Path, code: str, word: str) -> None:
    assert added(devices.check, copied_tree, PLACE, code + "\n") == [
        f"{PLACE}:1: {word} names a device; ask for a capability"
    ]


@pytest.mark.parametrize(
    "code",
    [
        '"""Runs on CPU and CUDA alike."""',
        "# CUDA needs no word of code",
        'REFERENCE = "REF"',
        'THREADS = "NUM_CPU_THREADS"',
        "cores = os.cpu_count()",
        "input_gradient = envy = hippo = 1",
    ],
)
def test_docstrings_comments_ref_and_others_words_are_free(copied_tree: Path, code: str) -> None:
    assert added(devices.check, copied_tree, PLACE, code + "\n") == []
