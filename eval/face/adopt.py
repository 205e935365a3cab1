"""The face's verb for networks from elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ...toolkit.adopt import adopt_module
from ...toolkit.coding import Coder
from ...toolkit.errors import InputError
from ...toolkit.files import digest
from ...toolkit.network.network import SpikingNetwork
from ..measure.adoption import adoption
from ..records.adoption import Adoption
from ..records.base import Data, header
from ..report.adoption import render_adoption
from .shown import Shown


@dataclass(frozen=True, repr=False)
class Adopted(Shown[Adoption]):
    """An adopted network with its proof.

    Attributes:
        network: trainable, attackable, in evaluation mode.
    """

    network: SpikingNetwork


def adopt(
    model: nn.Module,
    sample: Any,
    labels: Any = None,
    *,
    steps: int | None = None,
    time: int | None = None,
    output: Callable[[Any], Any] | int | None = None,
    coder: Coder | None = None,
) -> Adopted:
    """Return a network from elsewhere as one of this package: trainable, attackable, proven equal on samples.

    The model is run on the samples and watched; what it computed, folded over time, becomes a network of layers and
    populations. Both then run side by side, in float64 where the model can, and every spike and logit is compared.

    Args:
        model: a module whose neurons are of snnTorch, SpikingJelly, norse or sinabs, in evaluation mode.
        sample: what it is called with: (samples, ...), or with an axis of time.
        labels: (samples,), integers from 0: gives the accuracy, too.
        steps: time steps, where one call of the model is one step, or where it takes images repeated along axis 0.
        time: the axis of time in ``sample``, 0 or 1; None for images.
        output: of what the model returns: an index, or a function of it; by default the first tensor.
        coder: what made the sample of images; by default ``events`` for spikes over time, else ``direct``.

    Raises:
        InputError: the model or the sample cannot be used as they are.
        UnsupportedError: something in it has no form here; the module or function is named.
        DisagreementError: the adopted network gives other spikes; the first layer, step and neuron are named.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"adopt: got a {type(model).__name__}, expected a torch module")
    found = adopt_module(model, sample, steps=steps, time=time, output=output, coder=coder)
    asked = {"steps": steps, "time": time, "output": output if isinstance(output, int) else None}
    given = "".join(f", {name}={value}" for name, value in asked.items() if value is not None)
    about = header("network", f"spikeproof.adopt(model, sample{given})")
    about["data"] = Data(name="sample", sha256=digest(found.images.numpy().tobytes()), test=len(found.images))
    record = adoption(found, model, about, None if labels is None else np.asarray(labels))
    rows = tuple(
        {
            "layer": layer.name,
            "kind": layer.kind,
            "receives": ", ".join(layer.receives),
            "differ": "" if layer.spikes is None else f"{layer.differing:,} of {layer.spikes:,}",
            "on the chip": layer.refused or "",
        }
        for layer in record.layers
    )
    return Adopted(record, " ".join(record.sentences), rows, lambda: render_adoption(record), found.network)
