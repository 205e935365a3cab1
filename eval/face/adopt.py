"""The face's verb for networks from elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from torch import nn

from ...export.nir.adopt import adopt_nir_proven
from ...toolkit.adopt import Adopted as Found
from ...toolkit.adopt import adopt_module
from ...toolkit.coding import Coder, Direct, Events
from ...toolkit.data import Labels, check_labels
from ...toolkit.errors import InputError
from ...toolkit.files import digest
from ...toolkit.network.network import SpikingNetwork
from ..measure.adoption import adoption, frameworks
from ..records.adoption import Adoption
from ..records.base import Data, header
from ..report.adoption import render_adoption
from .shown import Shown

ORIGIN = ("settings", "dt", "reset", "one_spike", "unscaled", "start", "port", "reference")
"""What is known of a NIR graph beyond itself."""


@dataclass(frozen=True, repr=False)
class Adopted(Shown[Adoption]):
    """An adopted network with its proof.

    Attributes:
        network: trainable, attackable, in evaluation mode.
    """

    network: SpikingNetwork


def adopt(
    model: "nn.Module | nir.NIRGraph | str | Path",
    sample: Any,
    labels: Any = None,
    *,
    steps: int | None = None,
    time: int | None = None,
    output: Callable[[Any], Any] | int | None = None,
    coder: Coder | None = None,
    **origin: Any,
) -> Adopted:
    """Return a network from elsewhere as one of this package: trainable, attackable, proven equal on samples.

    A module is run on the samples and watched; what it computed, folded over time, becomes a network of layers and
    populations. Both then run side by side, in float64 where the module can, and every spike and logit is compared. A
    NIR graph becomes the network of its nodes, and is compared with its equations in float64.

    Args:
        model: a module whose neurons are of snnTorch, SpikingJelly, norse or sinabs, in evaluation mode; or a NIR
            graph, or the path of a NIR file.
        sample: what it is called with: (samples, ...), or with an axis of time.
        labels: (samples,), integers from 0: gives the accuracy, too.
        steps: time steps, where one call of the module is one step, or where it takes images repeated along axis 0; of
            a NIR graph that gets images.
        time: the axis of time in ``sample``, 0 or 1; None for images.
        output: of what the module returns: an index, or a function of it; by default the first tensor.
        coder: what made the sample of images; by default ``events`` for spikes over time, else ``direct``.
        origin: of a NIR graph: ``settings`` (the framework that wrote it), ``dt``, ``reset``, ``one_spike``,
            ``unscaled``, ``start``, ``port`` (the Output node that is read, of several), and ``reference``, what the
            origin's output sends (time, samples, classes).

    Raises:
        InputError: the model or the sample cannot be used as they are.
        UnsupportedError: something in it has no form here; the module, function or node is named.
        DisagreementError: the adopted network gives other spikes; the first layer, step and neuron are named.
    """
    unknown = sorted(set(origin) - set(ORIGIN))
    if unknown:
        raise InputError(f"adopt: {', '.join(unknown)}: unknown; of NIR graphs there are {', '.join(ORIGIN)}")
    if isinstance(model, nn.Module):
        if origin:
            raise InputError(f"adopt: {', '.join(origin)}: of NIR graphs; a module says for itself what it means")
        found = adopt_module(model, sample, steps=steps, time=time, output=output, coder=coder)
        source, framework = type(model).__name__, frameworks(model)
    else:
        found = _graph(model, sample, steps, time, coder, origin)
        source = "graph" if not isinstance(model, str | Path) else Path(model).name
        framework = f"NIR, {origin.get('settings', 'nir')}"
    asked: dict[str, Any] = {"steps": steps, "time": time, "output": output if isinstance(output, int) else None}
    asked |= {name: repr(value) for name, value in origin.items() if name != "reference"}
    given = "".join(f", {name}={value}" for name, value in asked.items() if value is not None)
    about = header("network", f"spikeproof.adopt(model, sample{given})")
    about["data"] = Data(name="sample", sha256=digest(found.images.numpy().tobytes()), test=len(found.images))
    record = adoption(found, source, framework, about, None if labels is None else _labels(labels, found))
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


def _labels(labels: Any, found: Found) -> Labels:
    with torch.no_grad():
        classes = int(found.network(found.images[:1]).shape[1])
    return check_labels(np.asarray(labels), "adopt: labels", len(found.images), classes)


def _graph(
    source: Any, sample: Any, steps: int | None, time: int | None, coder: Coder | None, origin: dict[str, Any]
) -> Found:
    x = np.asarray(sample)
    if time == 0:
        x = np.ascontiguousarray(x.swapaxes(0, 1))
    if coder is None and time is None and steps is None:
        raise InputError("adopt: a NIR graph that gets images runs as many time steps as steps= says")
    made = coder or (Events(x.shape[1]) if time is not None else Direct(steps or 1))
    return adopt_nir_proven(source, x, made, **origin)
