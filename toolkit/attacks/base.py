"""The contract of every attack."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from ..data import Images, Labels, check_images, check_labels
from ..errors import InputError
from ..layers import SpikingNetwork
from ..progress import Track, silent
from ..train import seeded

THREAT_MODEL = "pixel space, L-infinity, white box through the direct coder"


@dataclass(frozen=True)
class Attacked:
    """What an attack made, and what the victim says of it.

    Attributes:
        images: (samples, channels, height, width), inside the ball and [0, 1].
        robust: (samples,) true where the victim still answers correctly.
        distance: largest L-infinity distance to the clean images.
    """

    images: Images
    robust: np.ndarray[tuple[int], np.dtype[np.bool_]]
    distance: float


@torch.no_grad()
def predict(network: SpikingNetwork, images: Images, batch: int = 250) -> Labels:
    """Return the network's classes (samples,), ties to the lowest index, in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    parts = [network(torch.from_numpy(part).to(device)).argmax(1).cpu() for part in _batches(images, batch)]
    return torch.cat(parts).numpy()


def _batches(images: Images, batch: int) -> list[Images]:
    return [np.ascontiguousarray(images[start : start + batch]) for start in range(0, len(images), batch)]


class Attack(ABC):
    """An attack: settings in the constructor, everything else in the final call.

    Args:
        epsilon: radius of the L-infinity ball, in units of the [0, 1] pixel range.
        batch: samples attacked at once.
        seed: of the attack's random start.
    """

    def __init__(self, *, epsilon: float, batch: int = 250, seed: int = 0) -> None:
        if not 0 < epsilon <= 1:
            raise InputError(f"epsilon: {epsilon}, expected a number in (0, 1]")
        self.epsilon = epsilon
        self.batch = batch
        self.seed = seed

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in sorted(vars(self).items()))
        return f"{type(self).__name__}({settings})"

    @abstractmethod
    def run(self, network: SpikingNetwork, images: Images, labels: Labels) -> Images:
        """Return adversarial images for one batch; need not respect the ball."""

    @final
    def __call__(self, network: SpikingNetwork, images: Images, labels: Labels, *, track: Track = silent) -> Attacked:
        """Check the input, attack, project into the ball, and judge on the victim again.

        Args:
            network: the victim; put in evaluation mode.
            images: (samples, channels, height, width), in [0, 1].
            labels: (samples,).
            track: progress.

        Raises:
            InputError: images or labels are refused, or the attack returned NaN.
        """
        images = check_images(images, "images to attack")
        network.eval()
        with torch.no_grad():
            device = next(network.parameters()).device
            classes = network(torch.from_numpy(images[:1]).to(device)).shape[1]
        labels = check_labels(labels, "labels of the images to attack", len(images), classes)
        made = []
        batches = _batches(images, self.batch)
        with seeded(self.seed):
            for index, part in track(enumerate(batches), f"attack {type(self).__name__.lower()}", len(batches)):
                start = index * self.batch
                raw = self.run(network, part, labels[start : start + len(part)])
                if not np.isfinite(raw).all():
                    raise InputError(f"{self!r}: returned NaN or infinity; the network's gradient is not finite")
                low, high = part - np.float32(self.epsilon), part + np.float32(self.epsilon)
                made.append(np.clip(np.clip(raw, low, high), 0, 1).astype(np.float32))
        adversarial = np.concatenate(made)
        robust = predict(network, adversarial, self.batch) == labels
        return Attacked(adversarial, robust, float(np.abs(adversarial - images).max()))
