"""The pytest side of the suite: the option that names a device, and the device opened once.

In: `--tc-device NAME`, or `--device NAME` where nobody else owns that option. Out: the fixture
`tc_device`. Next files: the test_*.py beside this one, which hold the cases.

pytest loads this module in every run on a machine that has the suite installed: it imports tinycore
only when a case of the suite was collected.
"""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tinycore.runtime.device import OpenDevice

OPTION = "--tc-device"
ALIAS = "--device"
HERE = Path(__file__).resolve().parent
DEVICE: "pytest.StashKey[OpenDevice]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the device."""
    group = parser.getgroup("tinycore", "tinycore conformance")
    text = f"the device the conformance suite runs on ({ALIAS} too, where it is free)"
    group.addoption(OPTION, metavar="NAME", default=None, help=text)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    parser: pytest.Parser, args: list[str]
) -> Generator[None, None, None]:
    """Read `--device` as `--tc-device`, unless a plugin or conftest has taken that name."""
    yield
    _, unknown = parser.parse_known_and_unknown_args(args)
    if any(_is_alias(argument) for argument in unknown):
        args[:] = [_spelled_out(argument) for argument in args]


def _is_alias(argument: str) -> bool:
    return argument == ALIAS or argument.startswith(f"{ALIAS}=")


def _spelled_out(argument: str) -> str:
    return OPTION + argument.removeprefix(ALIAS) if _is_alias(argument) else argument


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Open the device before the first case runs, so that a missing one ends the run at once."""
    if any(HERE in item.path.resolve().parents for item in items):
        config.stash[DEVICE] = _open(config.getoption("tc_device"))


def _open(name: str | None) -> "OpenDevice":
    if not name:
        raise pytest.UsageError(f"conformance: no device is named; pass {OPTION} NAME")
    from tinycore import Device

    try:
        return Device[name]
    except Exception as error:
        raise pytest.UsageError(f"conformance: {name} does not open; {error}") from error


@pytest.fixture(scope="session")
def tc_device(pytestconfig: pytest.Config) -> "OpenDevice":
    """The open device under test."""
    return pytestconfig.stash[DEVICE]
