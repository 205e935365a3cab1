"""Sigma-delta layers of a ``.net`` file as populations: the processes of lava-nc that the importer makes of them."""

import numpy as np

from ..program import SigmaDelta
from .netx_file import Changes, FileLayer
from .netx_weights import Refused
from .netx_wires import spread_bias

SPIKE_EXPONENT = STATE_EXPONENT = 6
"""What the importer sets."""
ACTIVATION_UNIT = 1 / 2 ** (SPIKE_EXPONENT + STATE_EXPONENT)
"""SLAYER's unit of what sigma-delta neurons hold."""


def input_changes(layer: FileLayer, neuron: Changes, bias: int) -> SigmaDelta:
    """Return the input's neurons, Lava's ``Delta``: they send changes of what the host gives them plus ``bias``.

    Raises:
        Refused: they would send what they hold, which the importer ignores in an input.
    """
    if neuron.sigma:
        raise Refused("sigma_output in an input, which lava-dl's importer ignores")
    return SigmaDelta(
        name=f"layer{layer.index}",
        shape=layer.shape,
        vth=neuron.vth,
        activation="unit",
        spike_exponent=SPIKE_EXPONENT,
        state_exponent=STATE_EXPONENT,
        input_bias=True,
        bias=np.full(layer.shape, bias),
    )


def changes(layer: FileLayer, neuron: Changes, shape: tuple[int, ...]) -> SigmaDelta:
    """Return a layer's neurons: Lava's ``SigmaDelta``, or its ``Sigma`` where they send what they hold.

    Raises:
        Refused: a bias that the importer does not take.
    """
    bias = spread_bias(layer, shape)
    if neuron.sigma and layer.bias is not None:
        raise Refused("a bias with sigma_output, with which lava-dl's importer fails")
    return SigmaDelta(
        name=f"layer{layer.index}",
        shape=shape,
        vth=0 if neuron.sigma else neuron.vth,
        activation="unit" if neuron.sigma else "relu",
        sends="sigma" if neuron.sigma else "delta",
        spike_exponent=SPIKE_EXPONENT,
        state_exponent=STATE_EXPONENT,
        bias=bias,
    )
