"""Why an OpenCL device is there or not, step by step: loader, runtimes, platforms, devices.

In: one of the backends. Out: checks, each with what to do. Nothing is opened, so that they tell
what stops a device from opening. `python -m tinycore_qcom.doctor` prints them.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tinycore.backend import BackendError, Unavailable
from tinycore_qcom import api, platforms, runtimes
from tinycore_qcom.backend import AdrenoBackend, OpenCLBackend, remedy
from tinycore_qcom.platforms import Found
from tinycore_qcom.runtimes import Runtime


class Check(NamedTuple):
    """One step: what was looked at, whether it is well, what was found, what to do."""

    name: str
    passed: bool
    detail: str
    hint: str = ""


def checks(backend: OpenCLBackend) -> list[Check]:
    """Every step, the failed ones with a hint."""
    return [_loader(), *_runtimes(), _platforms(), _devices(backend)]


BACKENDS = {one.name: one for one in (OpenCLBackend, AdrenoBackend)}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the steps of a device; returns 1 if one failed, 2 if misused."""
    parser = ArgumentParser(
        prog="python -m tinycore_qcom.doctor",
        description="Why an OpenCL device is there or not: each step, and what to do.",
    )
    parser.add_argument("device", nargs="?", default="CL", choices=BACKENDS, help="CL if left out")
    parser.add_argument("--json", action="store_true", help="print the steps as a list of objects")
    arguments = parser.parse_args(argv)
    rows = checks(BACKENDS[arguments.device]())
    if arguments.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    for row in () if arguments.json else rows:
        state = "ok" if row.passed else "failed"
        told = f"{row.detail}. {row.hint}" if row.hint else row.detail
        print(f"{state:<8} {row.name:<10} {told}")
    return int(not all(row.passed for row in rows))


def _loader() -> Check:
    try:
        return Check("loader", True, api.library().path)
    except Unavailable as error:
        return Check("loader", False, error.message, error.hint)


def _runtimes() -> Iterator[Check]:
    rows, found = runtimes.candidates(), bool(_present())
    misled = not found and _loader().passed
    for name, value in runtimes.chosen().items():
        detail = f"{name}={value} leaves out the runtimes of Python packages"
        if misled:
            yield Check("choice", False, f"{detail}, and nothing is found without them", remedy())
        else:
            yield Check("choice", True, detail)
    if not rows:
        yield Check("runtime", found, "there is no .icd file for the loader to read", remedy())
    # A wheel may bring files for runtimes that another wheel would have brought.
    spare = runtimes.of_packages() if found else []
    for row in rows:
        yield _runtime(row, row in spare)


def _runtime(row: Runtime, spare: bool) -> Check:
    trouble = row.trouble
    if not trouble:
        return Check("runtime", True, row.note or f"{row.file} names {row.library}, which loads")
    if spare:
        return Check("runtime", True, f"{trouble}; others are here")
    again = f"Install the runtime that {row.file.name} belongs to again, or remove the file"
    return Check("runtime", False, trouble, remedy() if runtimes.chosen() else again)


def _platforms() -> Check:
    found = _present()
    names = [f"{row.name} ({row.kind}) of {row.platform}, driver {row.driver}" for row in found]
    return Check("platforms", bool(found), "; ".join(names) or "none", "" if found else remedy())


def _present() -> tuple[Found, ...]:
    try:
        return platforms.devices()
    except Unavailable:
        return ()


def _devices(backend: OpenCLBackend) -> Check:
    try:
        count = backend.count()
    except BackendError as error:
        return Check("devices", False, error.message, error.hint)
    return Check("devices", True, f"{count} for {backend.name}")


if __name__ == "__main__":
    raise SystemExit(main())
