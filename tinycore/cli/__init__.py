"""The command `tinycore`, which runs those of the core and of hook plugins.

In: the words of a command line. Out: an exit status. Next: devices.py; nn/demo.py.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from tinycore import __version__
from tinycore.cli import devices
from tinycore.errors import TinycoreError
from tinycore.nn import demo
from tinycore.runtime.plugins import call_hooks

_ELSEWHERE = dict.fromkeys(("doctor", "new-backend", "conformance"), "tinycore-conformance")
"""Commands that users will look for here, and the packages that bring them."""

_INTERRUPTED, _UNREAD = 130, 141
"""What a shell reports for SIGINT and SIGPIPE. Source: POSIX, Shell Command Language 2.8.2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 if done, 1 if failed, 2 if misused."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = ArgumentParser(prog="tinycore", description="Tensors on any accelerator.")
    parser.add_argument("--version", action="version", version=f"tinycore {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    training = commands.add_parser("demo", help="train a small convolutional net on digits")
    demo.add_arguments(training)
    training.set_defaults(run=demo.run)
    devices.add_command(commands)
    call_hooks("tinycore_cli", subparsers=commands)
    command = words[0] if words else ""
    if command in _ELSEWHERE and command not in commands.choices:
        package = _ELSEWHERE[command]
        print(
            f"tinycore: {command} is not installed; it comes with {package}. "
            f"Do `pip install {package}`",
            file=sys.stderr,
        )
        return 2
    return _run(parser.parse_args(words))


def _run(arguments: Namespace) -> int:
    try:
        status = int(arguments.run(arguments) or 0)
        sys.stdout.flush()
        return status
    except TinycoreError as error:
        print(f"tinycore: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # as in `tinycore devices | head`; at exit Python would flush again
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        return _UNREAD
