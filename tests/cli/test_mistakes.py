"""What a user who makes a mistake is told: each in a process of its own, the text as a golden.

A golden holds the user's own line that raised, and the last line of the traceback; a mistake is
told where it is made, not where its result is asked for.
"""

import re
from pathlib import Path

import pytest

from tests.conftest import Golden
from tests.runtime.wheels import Site, bare_core, fake_source

SHAPES = {
    "add": "a + Tensor.ones(4, 5)",
    "matmul": "a @ Tensor.ones(2, 3)",
    "reshape": "a.reshape(4, 2)",
    "reshape_twice_free": "a.reshape(-1, -1)",
    "expand": "a.expand(5, 3)",
    "permute": "a.permute(0, 0)",
    "cat": "a.cat(Tensor.ones(3, 2))",
    "stack": "a.stack(Tensor.ones(3, 2))",
    "conv2d": "Tensor.ones(1, 3, 8, 8).conv2d(Tensor.ones(4, 2, 3, 3))",
    "assign": "a.assign(Tensor.ones(4, 3))",
    "setitem": "a[0] = Tensor.ones(2)",
    "index": "a[2]",
    "too_many_indices": "a[0, 0, 0]",
    "axis": "a.sum(2)",
    "item": "a.item()",
    "ragged": "Tensor([[1, 2], [3]])",
    "backward": "a.backward()",
    "loss": "a.cross_entropy(Tensor([0, 1, 2]))",
}
DTYPES = {
    "unknown": "a.cast('float33')",
    "bits_of_floats": "a & a",
    "shift": "a << 1",
    "index_by_floats": "a[Tensor([0.5])]",
    "assign": "Tensor([1, 2]).assign(Tensor([0.5, 1.5]))",
    "bitcast": "Tensor.ones(3).bitcast('float64')",
    "text": "Tensor(['a', 'b'])",
    "gradient": "Tensor([1, 2]).sum().gradient(Tensor([1]))",
}
ARGUMENTS = {
    "padding": "Tensor.ones(1, 3, 8, 8).conv2d(Tensor.ones(4, 3, 3, 3), padding='same')",
    "stride": "Tensor.ones(1, 3, 8, 8).max_pool2d(2, stride=0)",
    "kernel_size": "Tensor.ones(1, 3, 8, 8).avg_pool2d('x')",
    "linear": "nn.Linear(-4, 3)",
    "channels": "nn.Conv2d(-4, 3, 3)",
    "model": "nn.optim.Adam(nn.Linear(4, 3))",
    "groups": "nn.optim.Adam([{'params': [a]}])",
    "save": "nn.state.safe_save({'a': 1}, 'x.safetensors')",
    "seed": "Tensor.manual_seed('x')",
    "axis": "a.sum('x')",
    "axes": "a.sum((0, 1.0))",
    "variable": "a[:, : Variable('n', 1, 3)]",
    "format": "f'{a:.2f}'",
    "method": "a.reshap(3)",
    "maker": "Tensor.zeross(3)",
}
DEVICES = {
    "unknown": "Tensor([1], device='MOON')",
    "misspelt": "Tensor([1], device='GODO')",
    "known_elsewhere": "Tensor([1], device='CUDA')",
    "number": "Tensor([1], device='GOOD:7')",
    "two": "Tensor([1], device='GOOD') + Tensor([1], device='REF')",
}
KINDS = {"shape": SHAPES, "dtype": DTYPES, "argument": ARGUMENTS, "device": DEVICES}
CASES = {f"{kind}_{name}": line for kind, lines in KINDS.items() for name, line in lines.items()}
SCRIPT = """
from tinycore import Tensor, Variable, nn
a = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
{line}
print("not told")
"""


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core and what it needs, nothing else."""
    return bare_core(tmp_path_factory.mktemp("core"))


@pytest.fixture
def site(tmp_path: Path, core: Path) -> Site:
    """One device package is installed."""
    found = Site(tmp_path / "site", core)
    found.add("GOOD", fake_source("GOOD"))
    return found


def told(site: Site, line: str) -> str:
    """The line of the script that raised, and what the user reads last."""
    script = site.folder / "mistake.py"
    script.write_text(SCRIPT.format(line=line))
    done = site.script(script)
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    lines = re.findall(r'mistake.py", line (\d+), in <module>', done.stderr)
    own = script.read_text().splitlines()[int(lines[0]) - 1]
    return f"{own}\n{done.stderr.splitlines()[-1]}"


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_told_at_the_line_that_makes_it(name: str, site: Site, golden: Golden) -> None:
    text = told(site, CASES[name])
    assert text.startswith(CASES[name])
    golden(text, name)


def test_a_default_that_is_not_installed_is_told(site: Site, golden: Golden) -> None:
    done = site.run("from tinycore import Tensor; Tensor([1]).realize()", DEV="MOON")
    golden(done.stderr.splitlines()[-1], "default_unknown")


def test_a_broken_package_is_left_out_with_one_line(site: Site, golden: Golden) -> None:
    site.add("FOO", "import libfoo")
    done = site.run("from tinycore import Device, Tensor; Tensor([1]).realize(); print('runs')")
    assert (done.stdout, done.returncode) == ("runs\n", 0)
    golden(re.sub(r"^.*?: ", "", done.stderr.splitlines()[0]), "broken_package")
