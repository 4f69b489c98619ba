"""`python -m tinycore.cli` is `tinycore`."""

import sys

from tinycore.cli import main

if __name__ == "__main__":
    sys.exit(main())
