"""A data set of one's own: bars, upright or lying."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from spikeproof.toolkit.data.source import Cut, DataSource, Found


class Bars(DataSource):
    """A bright bar on a dark square, class 0 if it lies and 1 if it stands, with noise; 200 and 100 of them.

    Args:
        side: of the square, in pixels.
    """

    title: ClassVar[str] = "bars"

    def __init__(self, *, side: Annotated[int, Field(ge=4, le=64)] = 8) -> None:
        self.side = side

    def read(self, cut: Cut, steps: int) -> Found:
        """Return the bars, always the same."""
        arrays: dict[str, np.ndarray] = {}
        for seed, (part, count) in enumerate((("train", 200), ("test", 100))):
            rng = np.random.default_rng(seed)
            images = rng.random((count, 1, self.side, self.side), dtype=np.float32) * 0.3
            labels = np.arange(count) % 2
            for image, label, place in zip(images, labels, rng.integers(self.side, size=count), strict=True):
                image[0, :, place] += 0.7 * label
                image[0, place, :] += 0.7 * (1 - label)
            arrays |= {f"x_{part}": np.minimum(images, 1), f"y_{part}": labels}
        return Found(arrays)
