"""Constants of the normal distribution that turn medians into standard deviations."""

from __future__ import annotations

import math
from typing import Final

# Median of |x| for a normal deviate x of standard deviation 1.
MEDIAN_ABSOLUTE: Final = 0.6744897501960817
# Median of x**2, so of chi^2 with one degree of freedom.
MEDIAN_CHI2: Final = MEDIAN_ABSOLUTE**2
# The standard deviation is this times the median absolute deviation.
SD_FROM_MAD: Final = 1.0 / MEDIAN_ABSOLUTE
# The standard error of the median of n deviates is this times their standard deviation / sqrt(n), for large n.
ERROR_OF_MEDIAN: Final = math.sqrt(math.pi / 2.0)
