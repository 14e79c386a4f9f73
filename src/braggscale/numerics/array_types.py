"""Names for the array types in signatures; shapes and units stand in the docstrings."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Int32 = NDArray[np.int32]
UInt = NDArray[np.uint64]
Bool = NDArray[np.bool_]
Array = NDArray[Any]
