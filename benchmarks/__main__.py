"""`python -m benchmarks run`: tinycore beside its peers; `latency`: what compiling costs;
`ceilings`: what a device reaches of its own copies.

In: the words of a command line. Out: a table, and JSON if asked. The rules of measurement are
those of docs/performance/README.md: turns one after another in one run, medians, ratios.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import ceilings, latency
from benchmarks.cases import CASES
from benchmarks.interleave import Contender, Row, measure


def main() -> int:
    """Run the chosen measurements; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="time the cases against peers")
    run.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all if none is named")
    run.add_argument(
        "--peers", default="torch", help="of torch, compile, jax and fma, by comma (default: torch)"
    )
    run.add_argument("--pairs", type=int, default=11, help="turns of each contender")
    run.add_argument("--quick", action="store_true", help="the stated sizes alone")
    run.add_argument("--json", type=Path, help="write every figure to this file")
    costs = commands.add_parser("latency", help="count what compiling a kernel takes")
    costs.add_argument("--json", type=Path, help="write every figure to this file")
    device = commands.add_parser("ceilings", help="time kernels beside a device's own copies")
    device.add_argument("--device", default="CL", help="its name (default: %(default)s)")
    device.add_argument("--exponent", type=int, default=28, help="2**N elements (default: 28)")
    device.add_argument("--side", type=int, default=4096, help="of the matrices (default: 4096)")
    device.add_argument("--json", type=Path, help="write every figure to this file")
    options = parser.parse_args()
    if options.command == "ceilings":
        return ceilings.main(options.device, options.exponent, options.side, options.json)
    if options.command == "latency":
        return latency.main(options.json)
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    peers = [name for name in options.peers.split(",") if name]
    contenders = [Contender(name) for name in ("tinycore", *peers)]
    rows: list[Row] = []
    try:
        for name in options.cases or CASES:
            sizes = CASES[name].variants()
            for chosen in sizes[:1] if options.quick else sizes:
                rows.append(measure(name, chosen, contenders, options.pairs))
                print(_line(rows[-1]), flush=True)
    finally:
        for contender in contenders:
            contender.close()
    if options.json is not None:
        options.json.write_text(json.dumps([row._asdict() for row in rows], indent=2))
    return 0


def _line(row: Row) -> str:
    shape = "x".join(str(size) for size in row.sizes)
    parts = [
        f"{who} {1e3 * row.seconds[who]:8.3f} ms {row.rates[who]:7.1f} {row.unit}"
        f" (spread {100 * row.spread[who]:.0f} %)"
        for who in row.seconds
    ]
    return f"{row.case:10} {shape:16} ratio {row.ratio():5.2f}  " + "  ".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
