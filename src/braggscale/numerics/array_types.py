"""Names of array types for signatures; docstrings give shapes and units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Double-precision numbers.
Float = NDArray[np.float64]
#: Double-precision complex numbers.
Complex = NDArray[np.complex128]
#: 64-bit whole numbers.
Int = NDArray[np.int64]
#: 32-bit whole numbers.
Int32 = NDArray[np.int32]
#: Unsigned 64-bit whole numbers.
UInt = NDArray[np.uint64]
#: True or False.
Bool = NDArray[np.bool_]
#: Numbers of any type.
Array = NDArray[Any]
