"""The parts of a Program of profile ``xylo``: neurons that leak by bit shifts and subtract what they sent."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ...toolkit.errors import UnsupportedError
from .parts import Integers, Name, NeuronsPart, Part

STATE = (-(2**15), 2**15 - 1)
"""Range of currents, membranes and biases: 16 bits."""
Dash = Annotated[int, Field(ge=0, le=15)]


class Shifting(NeuronsPart):
    """Leaky integrate-and-fire neurons with synaptic currents, all leaks by bit shifts, reset by subtraction.

    i_p <- i_p + sum of weight x (spikes);  i_p <- i_p - decay(i_p, dash_syn[p]);
    v <- v - decay(v, dash_mem) + i_0 + i_1 + bias;  n = v // vth, 0...most;  v <- v - n vth;  n spikes are sent,
    with decay(x, d) = floor(x / 2^d), or the sign of x where that is 0; all in 16 bits, clipped.

    Time is that of the chip: all populations run from the sample's first step on, so that a bias acts before a message
    can have arrived. Input arrives in the step in which it is sent, spikes of a population in the next one.

    Args:
        name: unique in the Program.
        shape: (channels, height, width) or (neurons,).
        vth: threshold, 1...32767; a membrane that reaches it fires.
        dash_syn: shift of the leak of each synaptic current, one or two.
        dash_mem: shift of the membrane's leak.
        most: spikes a step: 31 of a hidden neuron, 1 of one that is read.
        bias: added to the membrane in each step, a neuron, 16 bits, of ``shape``.
        start: see :class:`.parts.Population`.
    """

    kind: Literal["shifting"] = "shifting"
    dash_syn: Annotated[tuple[Dash, ...], Field(min_length=1, max_length=2)]
    dash_mem: Dash
    most: Literal[1, 31] = 31
    input_bias: Literal[False] = False
    bias: Any = Field(exclude=True, repr=False)

    def model_post_init(self, context: Any) -> None:
        """Check size, bias and threshold."""
        super().model_post_init(context)
        where = f"population {self.name!r}"
        self._own(f"{where}: bias", self.bias, *STATE)
        if self.bias.shape != self.shape:
            raise UnsupportedError(f"{where}: bias of shape {self.bias.shape}, expected {self.shape}")
        if not 1 <= self.vth <= STATE[1]:
            raise UnsupportedError(f"{where}: threshold {self.vth}, allowed are 1 to {STATE[1]}")


class Shifted(Part):
    """All to all, weights of 8 bits: each spike adds weight 2^exponent to the current ``port`` of its target.

    Args:
        source: where spikes come from.
        target: where they go to.
        exponent: weight shift, 0...7; a chip has one for input, one for hidden and one for output weights.
        port: which of the target's synaptic currents, 0 or 1.
        weight: (target neurons, source neurons), -128...127.
    """

    kind: Literal["shifted"] = "shifted"
    source: Name
    target: Name
    exponent: Annotated[int, Field(ge=0, le=7)] = 0
    port: Literal[0, 1] = 0
    bits: Literal[8] = 8
    delay: Literal[0] = 0
    sign: Literal["mixed"] = "mixed"
    weight: Any = Field(exclude=True, repr=False)

    def model_post_init(self, context: Any) -> None:
        """Check the weights."""
        self._own(f"{self.label}: weight", self.weight, -128, 127)
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise UnsupportedError(f"{self.label}: weight of shape {self.weight.shape}, expected 2 dimensions")

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"synapse {self.source!r} -> {self.target!r}"

    def arrays(self) -> dict[str, Integers]:
        """Return the integer arrays by name."""
        return {"weight": self.weight}

    def matrix(self) -> Integers:
        """Return one row a target neuron."""
        found: Integers = self.weight
        return found
