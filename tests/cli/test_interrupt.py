"""Ctrl-C at any moment of the demo: it ends at once and quietly, and no cache is harmed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinycore.cache import DiskCache

SCRIPT = """
import sys
import numpy as np
from tinycore import Tensor
from tinycore.nn import demo
from tinycore.cli import main

def digits():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (320, 1, 28, 28)).astype(np.uint8)
    labels = rng.integers(0, 10, 320).astype(np.uint8)
    return Tensor(pixels), Tensor(labels), Tensor(pixels), Tensor(labels)

demo.mnist = digits
sys.exit(main(["demo", "--batch", "16"]))
"""
MOMENTS = 20


def start(cache: Path) -> subprocess.Popen[str]:
    """The demo on a few images, with a cache of its own."""
    environment = {**os.environ, "TINYCORE_CACHE": str(cache)}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(cache: Path) -> str:
    """The last line of a demo that nobody interrupts."""
    out, errors = start(cache).communicate(timeout=300)
    assert errors == ""
    return out.splitlines()[-1]


def stored(cache: Path) -> list[Path]:
    """Every file of a cache."""
    return [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_an_interrupt_at_any_moment_leaves_the_caches_intact(tmp_path: Path) -> None:
    begin_s = time.monotonic()
    wanted = finish(tmp_path / "calm")
    whole_s = time.monotonic() - begin_s
    moments = random.Random(7)
    cache = tmp_path / "shaken"
    for moment in range(MOMENTS):
        process = start(cache)
        time.sleep(moments.uniform(0.05, whole_s))
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        known = process.returncode in (0, 130, -signal.SIGINT)
        assert known, f"moment {moment}: status {process.returncode}\n{out}{errors}"
        if process.returncode == 130:
            assert errors == "", f"moment {moment}: {errors}"
    before = {path: path.read_bytes() for path in stored(cache)}
    assert finish(cache) == wanted
    kept = {path: path.read_bytes() for path in before}
    assert kept == before, "an entry had to be made again"
    assert not [path for path in stored(cache) if path.parent == DiskCache(cache).root]
