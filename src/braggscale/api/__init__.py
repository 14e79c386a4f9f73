"""The way in from Python: read, scale, look at what was found, write.

``import braggscale`` offers everything that is here; nothing is imported before it is used. Nothing here prints, ends
the process, or changes warnings, logging, environment or the number of BLAS threads of its caller: what a run has to
tell goes to the logger ``braggscale``, and what is wrong is raised with the sentence that the command would print.
"""

from __future__ import annotations

import logging

from braggscale.api.data import Data, read
from braggscale.api.report import Report
from braggscale.api.run import Component, Run, scale
from braggscale.api.tables import Curve, MergedData, ObservationTable

__all__ = ["Component", "Curve", "Data", "MergedData", "ObservationTable", "Report", "Run", "read", "scale"]

# Whoever wants to read along adds a handler. Without any, Python would print warnings.
logging.getLogger("braggscale").addHandler(logging.NullHandler())
