"""The data sets that ship inside the package, small enough to load at once and to read nothing from the network.

"sine" and "spirals" are generated (tests/test_data.py holds the code that made them). "digits" is the set of 1797
images that scikit-learn ships as `load_digits`, itself a copy of the test part of

    E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    https://doi.org/10.24432/C50P49, licensed CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/).

scikit-learn distributes its copy under the BSD 3-clause licence. What was changed here: the grey levels 0 to 16 are
stored as bytes, and `load` divides them by 16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATASETS = ("sine", "spirals", "digits")


def load(name: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Features and targets of a data set.

    Args:
        name: "sine" (20 points of sin 3x on [-1, 1]), "spirals" (100 points of two interleaved spirals in
            [-1, 1]²) or "digits" (1797 images of 8x8 grey levels in [0, 1]).

    Returns:
        Features, float64 (n, inputs), and targets: float64 (n, outputs) for a regression, int64 (n,) labels
        counted from 0 for a classification.

    Raises:
        ValueError: if there is no data set of that name.

    Example:
        >>> features, labels = load("digits")
        >>> features.shape, labels.shape
        ((1797, 64), (1797,))
    """
    if name not in DATASETS:
        raise ValueError(f"data={name!r} is the name of no data set; choose one of {', '.join(map(repr, DATASETS))}")
    with np.load(Path(__file__).with_name(f"{name}.npz"), allow_pickle=False) as stored:
        features, targets = stored["features"], stored["targets"]
    if features.dtype == np.uint8:  # grey levels 0 to 16
        features = features / 16
    if targets.dtype == np.uint8:  # labels
        targets = targets.astype(np.int64)
    return features, targets
