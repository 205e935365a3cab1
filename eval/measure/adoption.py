"""The record of an adoption, from what was read and compared."""

from typing import Any

from torch import nn

from ...toolkit.adopt import Adopted
from ...toolkit.attacks.base import predict
from ...toolkit.data import Labels
from ...toolkit.errors import InputError
from ...toolkit.network.foreign import framework as framework_of
from ..records.adoption import AdoptedLayer, Adoption
from ..records.base import share
from .adaptation import refusal

BATCH = 250
"""Samples a run."""


def frameworks(model: nn.Module) -> str:
    """Return the frameworks that a model's modules come from, in words."""
    return ", ".join(sorted({where for part in model.modules() if (where := framework_of(part))})) or "torch"


def adoption(
    found: Adopted, source: str, framework: str, about: dict[str, Any], labels: Labels | None = None
) -> Adoption:
    """Return the record of a network that was adopted.

    Args:
        found: what it was read as.
        source: class of the module, or name of the file.
        framework: of its neurons.
        about: the record's header.
        labels: of the samples: gives the accuracy, too.

    Raises:
        InputError: labels and samples differ in number.
    """
    network, proof = found.network, found.proof
    accuracy = None
    if labels is not None:
        if labels.shape != (len(found.images),):
            raise InputError(f"adopt: labels of shape {labels.shape} for {len(found.images)} samples")
        accuracy = share(predict(network, found.images.numpy(), BATCH) == labels)
    wires = network.wires()
    rows = []
    for name, layer in network.named_layers():
        differing, compared = proof.spikes.get(name, (None, None))
        rows.append(
            AdoptedLayer(
                name=name,
                kind=type(layer).__name__,
                receives=list(wires[name]),
                parameters=sum(part.numel() for part in layer.parameters()),
                spikes=compared,
                differing=differing,
                refused=found.reasons.get(name),
                notes=found.notes.get(name, []),
            )
        )
    return Adoption(
        **about,
        source=source,
        framework=framework,
        steps=network.steps,
        shape=found.shape,
        readout=found.readout,
        layers=rows,
        samples=proof.samples,
        others=proof.others,
        failed=list(proof.failed),
        dtype=proof.dtype,
        logits=proof.logits,
        classes=proof.classes,
        silent=list(proof.silent),
        refused=_outside(found)
        or next((f"layer {name!r}: {why}" for name, why in found.reasons.items()), None)
        or refusal(network, (found.images.shape[-3], found.images.shape[-2], found.images.shape[-1])),
        accuracy=accuracy,
    )


def _outside(found: Adopted) -> str | None:
    low, high = float(found.images.min()), float(found.images.max())
    if low >= 0 and high <= 1:
        return None
    return f"its samples go from {low:g} to {high:g}, and what the chip receives, and attacks change, is in [0, 1]"
