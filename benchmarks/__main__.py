"""`python -m benchmarks run`: tinycore beside its peers; `latency`: what compiling costs;
`ceilings`: what a device reaches of its own copies.

In: the words of a command line. Out: a table, and JSON or a picture if asked. The rules of
measurement are those of docs/performance/README.md: turns one after another in one run, medians,
ratios.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import ceilings, latency, report
from benchmarks.cases import CASES, Case, chosen
from benchmarks.contender import Contender
from benchmarks.interleave import PREPARE_S, TURN_S, measure
from benchmarks.plot import svg
from benchmarks.row import CEILINGS, OURS, Row

PEERS = {
    "torch": ("torch", "channels_last"),
    "compile": ("compile",),
    "jax": ("jax",),
    "tinygrad": ("tinygrad",),
}
"""What may be named as a peer, and the contenders that stand for it."""

RUN = f"""Time tinycore beside its peers, a process each, in turns.

cases: {", ".join(CASES)}

A contender that fails in a case is told so in its row. One that gives no answer for
{PREPARE_S:.0f} seconds while it prepares, or {TURN_S:.0f} in a turn, is ended and started again for
the next row."""


def main() -> int:
    """Run the chosen measurements; returns the exit status."""
    parser = _parser()
    options = parser.parse_args()
    if options.command == "ceilings":
        return ceilings.main(options.device, options.exponent, options.side, options.json)
    if options.command == "latency":
        return latency.main(options.json)
    try:
        cases = [one for case in chosen(options.cases) for one in _sizes(case, options.quick)]
        taking = contenders(options.peers, options.device, options.peers_device)
    except ValueError as mistake:
        parser.error(str(mistake))
    return run(options, cases, taking)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    kept = argparse.RawDescriptionHelpFormatter
    timed = commands.add_parser("run", help="time the cases", description=RUN, formatter_class=kept)
    timed.add_argument("cases", nargs="*", metavar="CASE", help="names or patterns (default: all)")
    timed.add_argument("--device", default="", help="tinycore's (default: its own choice)")
    timed.add_argument(
        "--peers", default="torch", help=f"of {', '.join(PEERS)}, by comma (default: torch)"
    )
    timed.add_argument(
        "--peers-device", choices=("cpu", "cuda"), help="(default: cuda if --device names a GPU)"
    )
    timed.add_argument("--pairs", type=int, default=11, help="turns of each (default: 11)")
    timed.add_argument("--quick", action="store_true", help="the stated sizes alone")
    timed.add_argument("--json", type=Path, help="write every figure to this file")
    timed.add_argument("--plot", type=Path, help="draw the ratios into this SVG file")
    costs = commands.add_parser("latency", help="count what compiling a kernel takes")
    costs.add_argument("--json", type=Path, help="write every figure to this file")
    device = commands.add_parser("ceilings", help="time kernels beside a device's own copies")
    device.add_argument("--device", default="CL", help="its name (default: %(default)s)")
    device.add_argument("--exponent", type=int, default=28, help="2**N elements (default: 28)")
    device.add_argument("--side", type=int, default=4096, help="of the matrices (default: 4096)")
    device.add_argument("--json", type=Path, help="write every figure to this file")
    return parser


def contenders(peers: str, device: str, peers_device: str | None) -> list[Contender]:
    """Ours, the peers that are named by comma, and the host's ceilings, each on its device.

    Raises: ValueError for a name that is no peer's.
    """
    asked = [name for name in peers.split(",") if name]
    strange = [name for name in asked if name not in PEERS]
    if strange:
        raise ValueError(f"no peer is called {strange[0]!r}; there are {', '.join(PEERS)}")
    is_gpu = device.partition(":")[0] in ("CUDA", "NV")
    theirs = peers_device or ("cuda" if is_gpu else "cpu")
    names = [name for peer in asked for name in PEERS[peer]]
    settings = {
        "BENCH_DEVICE": theirs,
        "JAX_PLATFORMS": theirs,
        "DEV": theirs.upper(),  # tinygrad's
        "BEAM": "0",
    }
    found = [Contender(OURS, settings={"DEV": device} if device else {})]
    found += [Contender(name, settings=settings) for name in names]
    host = not device or device.partition(":")[0] == "CPU"
    return found + [Contender(name) for name in CEILINGS if host]


def run(options: argparse.Namespace, cases: list[Case], taking: list[Contender]) -> int:
    """Measure cases with these contenders, and tell each row when it is done."""
    rows: list[Row] = []
    try:
        for number, case in enumerate(cases, 1):
            rows.append(measure(case, taking, options.pairs))
            print(f"[{number}/{len(cases)}] {report.told(rows[-1])}", flush=True)
            _write(options, rows)
    finally:
        for contender in taking:
            contender.close()
    print(report.summary(rows))
    print(
        f"load average {min(row.load for row in rows):.1f} to {max(row.load for row in rows):.1f}"
    )
    return 0


def _sizes(case: Case, is_quick: bool) -> list[Case]:
    return [case] if is_quick else case.variants()


def _write(options: argparse.Namespace, rows: list[Row]) -> None:
    """After every row, so that a run that is broken off leaves what it found."""
    if options.json is not None:
        told = {"peers": options.peers, "device": options.device, "pairs": options.pairs}
        options.json.write_text(json.dumps(report.document(rows, told), indent=2))
    if options.plot is not None:
        options.plot.write_text(svg(rows, f"tinycore beside {options.peers.replace(',', ', ')}"))


if __name__ == "__main__":
    raise SystemExit(main())
