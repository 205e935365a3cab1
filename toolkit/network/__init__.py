"""The network in PyTorch: layers, neurons that scan over time, joins, surrogates, and backward passes."""

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .neurons import Neuron

NEURONS: "Registry[type[Neuron]]" = Registry(
    "neuron",
    __name__,
    {"if": "neurons:IF", "lif": "neurons:LIF", "plif": "neurons:PLIF", "cuba": "neurons:CUBA"},
    base="neurons:Neuron",
)
