"""The face's verb for single layers: what each costs when its weights alone are quantized."""

import time
from collections.abc import Sequence
from typing import Any

from ...toolkit.network.network import SpikingNetwork
from ...toolkit.progress import bars
from ..explain.sensitivity import BITS, LOSS, find_sensitivity
from ..measure.forms import Forms
from ..records.sensitivity import LayerBits, Sensitivities, Sensitivity
from ..report.explain import render_sensitivity
from ..report.words import points
from .measures import header_of
from .samples import Samples, task_of, test_part
from .shown import Shown


def sensitivity(
    network: Forms | SpikingNetwork,
    data: Samples,
    *,
    bits: Sequence[int] = BITS,
    loss: float = LOSS,
    samples: int | None = None,
) -> Shown[Sensitivity]:
    """Quantize the weights of one layer after the other, all others in float: what it costs, and what bits it needs.

    Args:
        network: all forms, whose fine-tuned weights, bits and steps are taken; or a network in float alone.
        data: whose test images, or images and labels.
        bits: a weight, tried on each layer.
        loss: points of accuracy that a layer may cost alone.
        samples: the first so many; all if None.

    Raises:
        InputError: bits that there are not.
    """
    begun = time.perf_counter()
    images, labels = test_part(data, samples)
    forms = network if isinstance(network, Forms) else None
    floats = network.network if isinstance(network, Forms) else network
    given: dict[str, Any] = {"bits": None if tuple(bits) == BITS else tuple(bits), "samples": samples}
    given["loss"] = None if loss == LOSS else loss
    about = header_of("sensitivity", data, None if forms is None else forms.program, **given)
    with bars() as track:
        known: dict[str, Any] = {"task": task_of(data), "bits": bits, "loss": loss, "track": track}
        found = find_sensitivity(floats, None if forms is None else forms.quantized, images, labels, **known)
    record = Sensitivity(**about, **dict(found), seconds=time.perf_counter() - begun)
    rows = tuple(_row(found, layer) for layer in found.layers)
    return Shown(record, " ".join([*found.verdict, *found.notes]), rows, lambda: render_sensitivity(record))


def _row(found: Sensitivities, layer: LayerBits) -> dict[str, Any]:
    tried = sorted({one.bits for other in found.layers for one in other.tried})
    cells = {number: layer.at(number) for number in tried}
    return {
        "layer": layer.layer,
        **{
            f"{number} bits, points": "" if one is None else points(found.accuracy, one.accuracy)
            for number, one in cells.items()
        },
        "needs": "more" if layer.needs is None else layer.needs,
    }
