"""An attack of one's own: less contrast."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spikeproof.toolkit.attacks.ball import BallAttack
from spikeproof.toolkit.attacks.base import Access


@dataclass(frozen=True, kw_only=True)
class Contrast(BallAttack):
    """Move every pixel toward a grey value, by epsilon at most: x' = x + clip(grey - x, -epsilon, epsilon).

    Args:
        grey: in [0, 1].
    """

    name: ClassVar[str] = "contrast"
    access: ClassVar[Access] = "no access"

    grey: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5

    def run(self, model: Any, images: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the images with less contrast (batch, ...)."""
        made: NDArray[np.float32] = images + np.clip(self.grey - images, -self.epsilon, self.epsilon)
        return made.astype(np.float32)
