"""`tinycore demo`: the network of nn/demo.py learns to read digits on the best device.

In: the command's options. Out: an exit status; the last line printed is the test accuracy.
"""

from __future__ import annotations

import argparse

from tinycore.nn import demo


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser("demo", help="train a small convolutional net on digits")
    demo.add_arguments(parser)
    parser.set_defaults(run=demo.run)
