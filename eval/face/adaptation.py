"""The face's verb for networks that the chip has no form for: adapt."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw_targets.torch import TorchTarget
from ...toolkit.adapt import MOST_POPULATIONS, Pools, alone
from ...toolkit.adapt import adapt as change
from ...toolkit.data import Images
from ...toolkit.errors import UnsupportedError
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import bars
from ...toolkit.quantize import quantized_network
from ...toolkit.train import seeded
from ..measure.forms import DRAWS
from ..records.adaptation import Adaptation, ChangeCost
from ..records.base import share
from ..report.table import render_table
from .measures import header_of
from .networks import Samples, lower, test_part
from .shown import Shown

BITS = 8
"""Of the weights with which lowering is tried."""


@dataclass(frozen=True, repr=False)
class Adapted(Shown[Adaptation]):
    """An adapted network, and the changes with what they cost.

    Attributes:
        network: in evaluation mode, to be fine-tuned.
    """

    network: SpikingNetwork


def adapt(
    network: SpikingNetwork,
    data: Samples | None = None,
    *,
    samples: int | None = None,
    shape: tuple[int, int, int] | None = None,
    pools: Pools = "after",
    populations: int = MOST_POPULATIONS,
) -> Adapted:
    """Change what a network has and the chip has not, where the answer is known, and say what each change costs.

    Soft resets become hard ones, several spikes a step one, a leaky read-out an integrator; max pools of currents go
    behind the neurons; thresholds of each neuron go into the weights; docs/networks.md lists all. What the changes
    cost, fine-tuning repairs: :func:`quantize` with data and epochs.

    Args:
        network: not changed.
        data: whose test images, or images and labels: accuracy with each change alone, and with all.
        samples: the first so many; all if None.
        shape: (channels, height, width) of an image, where there are no data, to try whether it lowers.
        pools: what becomes of max pools of currents: "after" the neurons, or "average".
        populations: into how many populations of equal constants a layer may be split; beyond, its neurons get the
            mean.

    Raises:
        InputError: the data are refused.
    """
    adapted, changes, left = change(network, pools=pools, populations=populations)
    costs: list[dict[str, Any]] = [{"accuracy": None, "same": None} for _ in changes]
    whole: dict[str, Any] = {"before": None, "after": None, "same": None}
    if data is not None:
        images, labels = test_part(data, samples)
        shape = (int(images.shape[-3]), int(images.shape[-2]), int(images.shape[-1]))
        before, after = classes(network, images), classes(adapted, images)
        whole = {"before": share(before == labels), "after": share(after == labels), "same": _same(before, after)}
        with bars(keep=False) as track:
            for index in track(range(len(changes)), "adapt", len(changes)):
                found = classes(alone(network, changes[index]), images)
                costs[index] = {"accuracy": share(found == labels), "same": _same(before, found)}
    about = header_of("adapt", data, None, samples=samples, pools=pools, populations=populations)
    record = Adaptation(
        **about | {"command": about["command"].replace("(forms", "(network").replace("(program", "(network")},
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
    rows = [
        {
            "layer": one.layer,
            "what": one.kind,
            "was": one.was,
            "is": one.becomes,
            "exact": one.exact,
            "accuracy alone, %": None if one.accuracy is None else 100 * one.accuracy.value,
            "same class, %": None if one.same is None else 100 * one.same,
        }
        for one in record.changes
    ]
    title = " ".join(record.sentences)
    notes = [f"{one.layer}, {one.kind}: {one.why}." for one in record.changes] + [f"Left: {one}." for one in left]
    return Adapted(
        record,
        title,
        tuple(rows),
        lambda: render_table(record, "adapt", "What was changed, and what it costs", record.sentences, rows, notes),
        adapted,
    )


def refusal(network: SpikingNetwork, shape: tuple[int, int, int] | None) -> str | None:
    """Return why a network, its weights rounded, does not become a Program; None if it does."""
    try:
        quantized = quantized_network(network, BITS)
        if shape is not None:
            lower(quantized, shape)
    except UnsupportedError as error:
        return str(error)
    return None


def classes(network: SpikingNetwork, images: Images) -> NDArray[np.int64]:
    """Return the classes that a network gives images; a stochastic coder draws the same each time."""
    with seeded(DRAWS):
        return np.asarray(TorchTarget().compile(network).run(images).classes)


def _same(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    return float((one == other).mean())
