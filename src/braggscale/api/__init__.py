"""The Python interface: read, scale, look at the results, write.

``import braggscale`` offers all names of this package; modules are imported when they are first used. Nothing here
prints, ends the process, or changes warnings, logging, environment or the number of BLAS threads of the caller. The log
of a run goes to the logger ``braggscale``; errors are exceptions with the sentences that the command would print.
"""

from __future__ import annotations

import logging

from braggscale.api.data import Data, read
from braggscale.api.report import Report
from braggscale.api.run import Component, Run, scale
from braggscale.api.tables import Curve, MergedData, ObservationTable

__all__ = ["Component", "Curve", "Data", "MergedData", "ObservationTable", "Report", "Run", "read", "scale"]

# The caller may add another handler to see the log. Without any handler Python would print warnings.
logging.getLogger("braggscale").addHandler(logging.NullHandler())
