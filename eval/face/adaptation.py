"""The face's verb for networks that the chip has no form for: adapt."""

from dataclasses import dataclass

from ...toolkit.adapt import MOST_POPULATIONS, Pools
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import bars
from ..measure.adaptation import adaptation
from ..records.adaptation import Adaptation
from ..report.adaptation import render_adaptation, rows
from .measures import header_of
from .samples import Samples, test_part
from .shown import Shown


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
    behind the neurons; thresholds of each neuron go into the weights; docs/adapt.md lists all. What the changes
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
    about = header_of("adapt", data, None, samples=samples, pools=pools, populations=populations)
    about["command"] = about["command"].replace("(forms", "(network").replace("(program", "(network")
    found = None if data is None else test_part(data, samples)
    with bars(keep=False) as track:
        adapted, record = adaptation(
            network, found, about, shape=shape, pools=pools, populations=populations, track=track
        )
    return Adapted(record, " ".join(record.sentences), tuple(rows(record)), lambda: render_adaptation(record), adapted)
