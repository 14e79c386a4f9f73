"""How much must be moved through memory, whatever the program: the least time of each stage.

Counted are the numbers that a stage cannot do without, each read or written once per pass over the data, in the form
in which they are unavoidable: the coordinates of an observation, not the basis values that some program may make of
them; nothing for arithmetic; nothing for what stays in the cache. Divided by the bandwidth that the triad reaches this
is a bound that no program on this machine beats without reading less, fewer passes, or smaller types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Bytes of the columns that scaling needs of every row of the table: miller_index 12, id 4, flags 8, partial_id 8,
# s1 24, xyzobs.px.value 24, d 8, lp 8, qe 8, partiality 8, profile and summation values and variances 32.
ROW = 144
# Of an observation: two intensities with variances 32, hkl 12, data set 4, d 8, position 24, directions 24 (the
# incident beam's follows from the image), partiality and correction 16, row number 8.
OBSERVATION = 128
# What the inverse scale factor is a function of: d, position, direction of the diffracted beam.
COORDINATES = 56
PAIR = 16  # an intensity and its weight, or g and its variance

Found = Mapping[str, Any]


def moved(found: Found, read: int, written: int) -> dict[str, float]:
    """Bytes by stage.

    ``found``: scale.json.  ``read``, ``written``: bytes of the tables.
    """
    rows = found["ledger"]["rows"]
    total = found["ledger"]["total"]
    used = total.get("scaled", 0) + total.get("outlier", 0)
    scaling = 0.0
    for entry in found["rounds"]:
        passes = sum(len(minimiser["cost"]) for minimiser in entry["minimisers"])
        scaling += passes * entry["observations"] * (COORDINATES + PAIR)
        # scales of all observations, expected variances, outliers: everything once, g and its verdict written
        scaling += used * (COORDINATES + 2 * PAIR + PAIR)
    # the fit with final choices, and the variances of all scales
    passes = sum(len(minimiser["cost"]) for minimiser in found["fit"]["minimisers"])
    scaling += passes * found["fit"]["observations"] * (COORDINATES + PAIR) + used * (COORDINATES + 2 * PAIR)
    return {
        "reading": 0.0,  # columns are mapped; they are moved where they are used
        "preparation": float(rows * ROW + used * OBSERVATION),
        "symmetry": 2.0 * used * OBSERVATION,
        "models": float(used * 40),  # extent of the coordinates: position, d, data set
        "selection": float(used * 40),  # I, V, d, partiality, data set
        "scaling": scaling,
        "statistics": float(used * 40),  # I, V, g, d, group
        "writing": float(read + written),
    }
