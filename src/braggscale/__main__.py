"""``python -m braggscale`` is the same program as ``scale``."""

import gc
import os
import sys


def main() -> int:
    """Entry point.  A process that is one of several is watched before anything else is loaded."""
    from braggscale.ranks.watch import begin, leave

    begin(os.environ)
    gc.disable()  # what imports create stays in use: nothing is found in it
    from braggscale.cli import main as program

    gc.enable()
    status = program()
    leave(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
