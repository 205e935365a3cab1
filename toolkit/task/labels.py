"""Labels, checked: one integer a sample, and what seems to be meant where they are something else."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Labels = NDArray[np.int64]
SAY_SO = (
    "say so in Python: sp.load_data(..., arrays=(x_train, y_train, x_test, y_test), task=Regression({targets})), with "
    "Regression of spikeproof.toolkit.task.regression"
)
"""What to do with the targets of a regression, so many a sample."""


def check_labels(
    labels: NDArray[Any], source: str, samples: int, classes: int | None = None, *, real: str = SAY_SO
) -> Labels:
    """Return ``labels`` as int64 of shape ``(samples,)``, each in [0, ``classes``); ``real``: what to do with others.

    Raises:
        InputError: wrong type, wrong number, or a label out of range.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != samples:
        found = f"{source}: {labels.dtype} of shape {labels.shape}, expected {samples} integers"
        raise InputError(found + _why(labels, samples, real))
    top = np.iinfo(np.int64).max if classes is None else classes
    wrong = np.flatnonzero((labels < 0) | (labels >= top))
    if wrong.size:
        limit = f"0 to {classes - 1}" if classes else "0 or more"
        from_1 = "; labels that count from 1 need y - 1" if labels.min() == 1 and labels.max() == classes else ""
        raise InputError(
            f"{source}: label {labels[wrong[0]]} at index {wrong[0]} is out of range, expected {limit}{from_1}"
        )
    return labels.astype(np.int64)


def _why(labels: NDArray[Any], samples: int, real: str) -> str:
    """Return what labels of another form seem to be, and what makes classes of them; nothing where that is unknown."""
    if labels.dtype.kind not in "iufb" or len(labels) != samples or not labels.size:
        return ""
    if labels.ndim == 2 and labels.shape[1] > 1:
        one_hot = np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()
        return (
            "; they look one-hot: give y.argmax(1)"
            if one_hot
            else f"; several targets a sample are those of a regression: {real.format(targets=labels.shape[1])}"
        )
    whole = bool(np.isfinite(labels).all() and (labels == np.rint(labels)).all())
    if not whole:
        return f"; real numbers are the targets of a regression: {real.format(targets=1)}"
    if labels.ndim == 2:
        return "; give y[:, 0]"
    return "; whole numbers kept as floats: give y.astype(int)" if labels.dtype.kind == "f" else ""
