"""The handwritten digits that come with scikit-learn."""

from typing import ClassVar

import numpy as np

from ..extras import extra
from .source import Cut, DataSource, Found


class Digits(DataSource):
    """Handwritten digits of scikit-learn, 8x8: 1297 for training, 500 for testing, stratified, always the same."""

    title: ClassVar[str] = "scikit-learn digits"

    def read(self, cut: Cut, steps: int) -> Found:
        """Return the digits, split."""
        with extra("data"):
            from sklearn.datasets import load_digits
            from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = (digits.images / 16).astype(np.float32)[:, None]
        parts = train_test_split(images, digits.target, test_size=500, random_state=0, stratify=digits.target)
        return Found(dict(zip(("x_train", "x_test", "y_train", "y_test"), parts, strict=True)))
