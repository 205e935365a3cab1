"""The trail: how gradient sparsity, accuracy and robustness move together while a network is trained."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...toolkit.attacks.base import Attack, predict
from ...toolkit.code import code_hash
from ...toolkit.data import Images, Labels
from ...toolkit.errors import FileError
from ...toolkit.files import read_json, write_json
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.train import Epoch, seeded
from ..records.base import share
from ..records.evaluation import Trail, TrailPoint
from .zeros import ZeroGradientShare

SAMPLES = 200
"""Test images that a point is measured on: enough to see the trail, few enough to attack after many epochs."""


class TrailKeeper:
    """Measures the network after chosen epochs and keeps the points in a file; give it to ``fit`` as ``after_epoch``.

    It leaves weights, statistics and random numbers as they are, so the training is the same, bit for bit, without it.

    Args:
        path: the file; points of an interrupted training are taken up from it.
        identity: hash of recipe and data; points of another one, or by other code, are dropped.
        network: the network that is trained.
        attack: a white-box attack on pixels.
        images: (samples, channels, height, width); the first :data:`SAMPLES` are used.
        labels: (samples,).
        every: epochs between two points.
        epochs: the last one is measured, too.
        batch: samples at once.

    Raises:
        FileError: ``path`` is damaged.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        network: SpikingNetwork,
        attack: Attack,
        images: Images,
        labels: Labels,
        *,
        every: int,
        epochs: int,
        batch: int,
    ) -> None:
        self.path, self.identity = path, f"{identity} {code_hash()}"
        self.network, self.attack = network, attack
        self.images, self.labels = images[:SAMPLES], labels[:SAMPLES]
        self.every, self.epochs, self.batch = every, epochs, batch
        self.points: list[TrailPoint] = []
        if path.exists():
            kept, found = _read(path)
            self.points = found.points if kept == self.identity else []

    def __call__(self, done: Epoch) -> None:
        """Measure after this epoch if it is due, and write the file."""
        if done.epoch % self.every and done.epoch != self.epochs:
            return
        # What a training that went further than its saved state left behind is measured again.
        self.points = [point for point in self.points if point.epoch < done.epoch]
        with seeded(self.attack.seed):
            self.points.append(self._measure(done.epoch))
        trail = Trail(
            attack=self.attack.label,
            threat_model=self.attack.threat_model,
            samples=len(self.labels),
            points=self.points,
        )
        write_json(self.path, {"identity": self.identity, "trail": trail.model_dump(mode="json")})

    def _measure(self, epoch: int) -> TrailPoint:
        zeros = ZeroGradientShare(self.network)
        for start in range(0, len(self.labels), self.batch):
            zeros.update(self.images[start : start + self.batch], self.labels[start : start + self.batch])
        clean = share(predict(self.network, self.images, self.batch) == self.labels)
        robust = share(self.attack(self.network, self.images, self.labels).robust)
        return TrailPoint(epoch=epoch, zero_gradient=zeros.hidden(), clean=clean, robust=robust)


def _read(path: Path) -> tuple[str, Trail]:
    content: Any = read_json(path)
    try:
        return str(content["identity"]), Trail.model_validate(content["trail"])
    except (KeyError, TypeError, ValidationError) as error:
        raise FileError(f"{path}: not a trail, or damaged; delete it and train again") from error


def read_trail(path: Path) -> Trail:
    """Return the trail in ``path``.

    Raises:
        FileError: missing or damaged.
    """
    return _read(path)[1]
