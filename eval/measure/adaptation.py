"""What an adaptation costs: the network with each change alone, and with all."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...export.lowering.lower import lower
from ...export.nir.write import read_nir, write_nir
from ...hw_targets.torch import TorchTarget
from ...toolkit.adapt import MOST_POPULATIONS, Pools, adapt, alone
from ...toolkit.data import Images, Labels
from ...toolkit.errors import UnsupportedError
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import Track, silent
from ...toolkit.quantize import quantized_network
from ...toolkit.train import seeded
from ..records.adaptation import Adaptation, ChangeCost
from ..records.base import share
from .forms import DRAWS

BITS = 8
"""Of the weights with which lowering is tried."""


def adaptation(
    network: SpikingNetwork,
    samples: tuple[Images, Labels] | None,
    about: dict[str, Any],
    *,
    shape: tuple[int, int, int] | None = None,
    pools: Pools = "after",
    populations: int = MOST_POPULATIONS,
    track: Track = silent,
) -> tuple[SpikingNetwork, Adaptation]:
    """Return the adapted network, and the record of its changes.

    Args:
        network: not changed.
        samples: images and labels on which every change is measured.
        about: header of the record.
        shape: (channels, height, width) of an image, where there are no samples.
        pools: see :func:`...toolkit.adapt.adapt`.
        populations: the same.
        track: progress.
    """
    adapted, changes, left = adapt(network, pools=pools, populations=populations)
    costs: list[dict[str, Any]] = [{"accuracy": None, "same": None} for _ in changes]
    whole: dict[str, Any] = {"before": None, "after": None, "same": None}
    if samples is not None:
        images, labels = samples
        shape = (int(images.shape[-3]), int(images.shape[-2]), int(images.shape[-1]))
        before, after = _classes(network, images), _classes(adapted, images)
        whole = {"before": share(before == labels), "after": share(after == labels), "same": _same(before, after)}
        for index in track(range(len(changes)), "adapt", len(changes)):
            found = _classes(alone(network, changes[index]), images)
            costs[index] = {"accuracy": share(found == labels), "same": _same(before, found)}
    record = Adaptation(
        **about,
        **whole,
        changes=[
            ChangeCost(
                layer=one.layer, kind=one.kind, was=one.was, becomes=one.becomes, exact=one.exact, why=one.why, **cost
            )
            for one, cost in zip(changes, costs, strict=True)
        ],
        left=left,
        refused=refusal(adapted, shape),
        lowered=shape is not None,
    )
    return adapted, record


def refusal(network: SpikingNetwork, shape: tuple[int, int, int] | None) -> str | None:
    """Return why a network, its weights rounded, does not become a Program; None if it does."""
    try:
        # Layers that are made draw weights, before they get theirs: the caller's generator is left alone.
        with torch.random.fork_rng(devices=[]), TemporaryDirectory() as folder:
            quantized = quantized_network(network, BITS)
            if shape is not None:
                path = Path(folder) / "network.nir"
                write_nir(path, quantized, shape)
                lower(*read_nir(path), "network")
    except UnsupportedError as error:
        return str(error)
    return None


def _classes(network: SpikingNetwork, images: Images) -> NDArray[np.int64]:
    """Return the classes that a network gives images; a stochastic coder draws the same each time."""
    with seeded(DRAWS):
        return np.asarray(TorchTarget().compile(network).run(images).classes)


def _same(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    return float((one == other).mean())
