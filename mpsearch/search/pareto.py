# SPDX-License-Identifier: Apache-2.0
"""The points that no other point beats in everything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpsearch.errors import RecordError


def pareto_front(points: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the indices of the non-dominated points, every objective minimised.

    A point is dominated if another is no worse in every objective and better in one; of equal points all stay.

    Args:
        points: (N, M), N points with M objectives.

    Returns:
        int64, indices in rising order.

    Raises:
        RecordError: The points are no matrix, or hold NaN.
    """
    matrix = np.asarray(points, dtype=np.float64)
    if matrix.ndim != 2 or np.isnan(matrix).any():
        raise RecordError(f"pareto_front: got an array of shape {matrix.shape}, wanted (points, objectives) without NaN.")
    kept = [index for index, point in enumerate(matrix) if not ((matrix <= point).all(axis=1) & (matrix < point).any(axis=1)).any()]
    return np.array(kept, dtype=np.int64)
