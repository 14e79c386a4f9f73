"""Parts of scale_files.py: what is run, how it is measured, what the machine could do, and the table.

The engine is measured in this process, and as in the command linear algebra has one thread; that must be said before
numpy is imported. Children get the environment as it was.
"""

import os

from braggscale.cli import ONE_THREAD

GIVEN = dict(os.environ)
for _name in ONE_THREAD:
    os.environ.setdefault(_name, "1")
