"""What the compiled engine is given of a problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Kernel = Callable[..., Any]  # of one of the forms in `samviz.compiled.signatures`

ACTIVATIONS = ("identity", "tanh", "relu", "softplus", "sigmoid")  # by their number
LOSSES = ("mse", "cross_entropy")  # by their number


class Compiled(NamedTuple):
    """A problem as kernels and flat arrays."""

    gradient: Kernel
    product: Callable[[], Kernel]  # gives the kernel of Hessian-vector products, compiled when it is asked for
    numbers: Floats
    whole: Whole
    room: int  # numbers of scratch that the gradient needs
