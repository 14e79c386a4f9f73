"""``python -m braggscale`` is the same program as ``scale``."""

import sys

from braggscale.cli import main

if __name__ == "__main__":
    sys.exit(main())
