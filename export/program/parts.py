"""The parts of a Program: input, populations, synapses, read-out; every range is checked when a part is made."""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ...toolkit.errors import UnsupportedError

Integers = NDArray[np.int32]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
Size = Annotated[int, Field(ge=1, le=2**20)]
Shape = Annotated[tuple[Size, ...], Field(min_length=1, max_length=3)]
Pair = tuple[Annotated[int, Field(ge=0, le=1024)], Annotated[int, Field(ge=0, le=1024)]]
Sign = Literal["mixed", "excitatory", "inhibitory"]

VTH_MAX = 2**17 - 1
BIAS_MANTISSA = (-(2**12), 2**12 - 1)
BIAS_EXPONENT_MAX = 7
WEIGHT_EXPONENT = (-8, 7)
DELAY_MAX = 62
NEURON_LIMIT = 2**26
"""Largest population that a file may declare, so that a damaged header cannot ask for unbounded memory."""


class Part(BaseModel):
    """A frozen piece of a Program; unknown keys are errors, arrays stay out of the JSON header."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)

    def _own(self, name: str, array: Any, low: int, high: int) -> None:
        """Check an integer array and keep a read-only int32 copy of it."""
        array = np.asarray(array)
        if array.dtype.kind not in "iu":
            raise UnsupportedError(f"{name}: values of type {array.dtype}, expected integers")
        if array.size and (array.min() < low or array.max() > high):
            raise UnsupportedError(f"{name}: values {array.min()} to {array.max()}, allowed are {low} to {high}")
        # In the order of C: compiled loops read memory as it lies.
        copy = np.array(array, dtype=np.int32, order="C")
        copy.flags.writeable = False
        object.__setattr__(self, name.rsplit(": ", 1)[-1], copy)


class Input(Part):
    """What the Program receives at each step: integers of ``shape``, ``message_bits`` wide (0 means binary spikes).

    ``scale`` is the real value of one unit of the message.
    """

    name: Name = "input"
    shape: Shape
    message_bits: Annotated[int, Field(ge=0, le=24)]
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    def model_post_init(self, context: Any) -> None:
        """Check the size."""
        if np.prod(self.shape, dtype=np.float64) > NEURON_LIMIT:
            raise UnsupportedError(f"input {self.name!r}: shape {self.shape} is impossibly large")

    @property
    def peak(self) -> int:
        """The largest message."""
        return 2**self.message_bits - 1 if self.message_bits else 1

    @property
    def full(self) -> int:
        """The message that stands for 1.0; the largest, where no real value is known (``scale`` 1)."""
        return min(self.peak, round(1 / self.scale)) if self.scale < 1 else self.peak


class NeuronsPart(Part):
    """What all populations have."""

    name: Name
    shape: Shape
    vth: Annotated[int, Field(ge=0, le=VTH_MAX)]
    start: Annotated[int, Field(ge=0, le=2**16)] | None = None

    def model_post_init(self, context: Any) -> None:
        """Check the size."""
        if np.prod(self.shape, dtype=np.float64) > NEURON_LIMIT:
            raise UnsupportedError(f"population {self.name!r}: shape {self.shape} is impossibly large")


class Population(NeuronsPart):
    """Current-based leaky integrate-and-fire neurons that share decays, threshold and bias exponent.

    u <- u (1 - (du+1)/4096) + 64 a;  v <- v (1 - dv/4096) + u + mantissa 2^exponent;  s = v > 64 vth;  v <- 0 if s.

    Args:
        name: unique in the Program.
        shape: (channels, height, width) or (neurons,).
        du: current decay, -1...4095; 4095 is a current without memory.
        dv: voltage decay, 0...4096.
        vth: threshold mantissa, 0...131071.
        bias_exponent: 0...7.
        bias: mantissa a neuron, -4096...4095, of ``shape``.
        input_bias: whether the input is bias-coded here: the host adds the message of step t to the mantissa in step t
            of the population's window. The input then has this ``shape``.
        start: the step, counted from the sample's first, at which the population's window starts; by default the
            shortest forward path to it.
    """

    du: Annotated[int, Field(ge=-1, le=4095)]
    dv: Annotated[int, Field(ge=0, le=4096)]
    bias_exponent: Annotated[int, Field(ge=0, le=BIAS_EXPONENT_MAX)] = 0
    input_bias: bool = False
    bias: Any = Field(exclude=True, repr=False)

    def model_post_init(self, context: Any) -> None:
        """Check the size, and the bias against the shape and the 13-bit range."""
        super().model_post_init(context)
        self._own(f"population {self.name!r}: bias", self.bias, *BIAS_MANTISSA)
        if self.bias.shape != self.shape:
            raise UnsupportedError(f"population {self.name!r}: bias of shape {self.bias.shape}, expected {self.shape}")


class Graded(NeuronsPart):
    """Units without state that send their input itself, Loihi 2's graded spikes: s = a if a > vth else 0.

    A join of two paths (the ADD of a SEW block) is one such population that both end in.

    Args:
        name: unique in the Program.
        shape: (channels, height, width) or (neurons,).
        vth: what is not above it is not sent, 0...131071; no 6-bit alignment here.
        message_bits: width of a message; a Program whose sums could be larger is refused.
        start: see :class:`Population`.
    """

    message_bits: Annotated[int, Field(ge=1, le=24)]


class SigmaDelta(NeuronsPart):
    """Sigma-delta neurons, as of lava-nc: they add up what arrives, and send by how much their activation has changed.

    e = spike_exponent + state_exponent, all in 32 bits:
    sigma <- sigma + a;  y = f(sigma + bias 2^e);  d = y - act + residue;  m = d if |d| >= vth 2^e else 0;
    residue <- d - m;  act <- y;  m >> state_exponent is sent. With ``sends = "sigma"`` sigma itself is sent.

    Args:
        name: unique in the Program.
        shape: (channels, height, width) or (neurons,).
        vth: what a change must reach to be sent, 0...131071, times 2^e.
        activation: f, max(x, 0) or x itself.
        spike_exponent: 0...7, of biases, thresholds and bias-coded input beside what arrives.
        state_exponent: 0...7, bits that the state keeps and a message has not.
        bias: mantissa a neuron, -4096...4095, of ``shape``.
        input_bias: whether the input is bias-coded here, see :class:`Population`. With f = x, and nothing else that
            arrives, these are Lava's ``Delta`` units.
        sends: "sigma" for Lava's ``Sigma`` units, the end of a network: no bias, no threshold, f = x.
        start: see :class:`Population`.
    """

    kind: Literal["sigma_delta"] = "sigma_delta"
    activation: Literal["relu", "unit"] = "relu"
    spike_exponent: Annotated[int, Field(ge=0, le=7)] = 6
    state_exponent: Annotated[int, Field(ge=0, le=7)] = 6
    input_bias: bool = False
    sends: Literal["delta", "sigma"] = "delta"
    bias: Any = Field(exclude=True, repr=False)

    def model_post_init(self, context: Any) -> None:
        """Check size, bias and threshold."""
        super().model_post_init(context)
        where = f"population {self.name!r}"
        self._own(f"{where}: bias", self.bias, *BIAS_MANTISSA)
        if self.bias.shape != self.shape:
            raise UnsupportedError(f"{where}: bias of shape {self.bias.shape}, expected {self.shape}")
        if self.sends == "sigma" and (self.vth or self.bias.any() or self.activation != "unit" or self.input_bias):
            raise UnsupportedError(f"{where}: sends sigma itself, so it has no bias, threshold or activation")

    @property
    def exponent(self) -> int:
        """Bits by which biases and the threshold are shifted."""
        return self.spike_exponent + self.state_exponent

    @property
    def peak(self) -> int:
        """The largest magnitude of a message: messages have a sign."""
        return 2**31 >> (self.state_exponent if self.sends == "delta" else 0)


class _Synapse(Part):
    source: Name
    target: Name
    bits: Annotated[int, Field(ge=1, le=9)] = 8
    exponent: Annotated[int, Field(ge=WEIGHT_EXPONENT[0], le=WEIGHT_EXPONENT[1])] = 0
    sign: Sign = "mixed"
    delay: Annotated[int, Field(ge=0, le=DELAY_MAX)] = 0
    weight: Any = Field(exclude=True, repr=False)

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"synapse {self.source!r} -> {self.target!r}"

    def arrays(self) -> dict[str, Integers]:
        """Return the integer arrays by name."""
        return {"weight": self.weight}

    def matrix(self) -> Integers:
        """Return one row an output (neuron or channel) with all the weights that may meet in it in one step."""
        rows: Integers = self.weight.reshape(self.weight.shape[0], -1)
        return rows

    def _check_weight(self, dimensions: int) -> None:
        self._own(f"{self.label}: weight", self.weight, -256, 255)
        if self.weight.ndim != dimensions or 0 in self.weight.shape:
            raise UnsupportedError(
                f"{self.label}: weight of shape {self.weight.shape}, expected {dimensions} dimensions"
            )
        if self.bits == 9 and self.sign != "mixed":
            # Lava shifts such weights by a negative number of bits, which makes them 0.
            raise UnsupportedError(f"{self.label}: the ninth bit is the sign; weights of one sign have at most 8 bits")
        # Executors truncate or ignore what is off the grid, each in its own way; on the grid they agree.
        grid = 2 ** (9 - self.bits if self.sign == "mixed" else 8 - self.bits)
        if (self.weight % grid).any():
            raise UnsupportedError(
                f"{self.label}: weights must be multiples of {grid} for {self.bits} bits, {self.sign}"
            )
        low, high = {"mixed": (-256, 255), "excitatory": (0, 255), "inhibitory": (-255, 0)}[self.sign]
        if self.weight.min() < low or self.weight.max() > high:
            raise UnsupportedError(f"{self.label}: weights must be in {low}...{high} for sign mode {self.sign!r}")


class Dense(_Synapse):
    """All to all: a = floor((W x) 2^exponent), W (target neurons, source neurons), both flattened as (C, H, W)."""

    kind: Literal["dense"] = "dense"

    def model_post_init(self, context: Any) -> None:
        """Check the weights."""
        self._check_weight(2)


class Sparse(_Synapse):
    """The synapses that exist, one by one: a[row] = floor((sum of weight x[column]) 2^exponent).

    Args:
        shape: (target neurons, source neurons), both flattened as (C, H, W).
        weight: one a synapse.
        rows: target neuron of each synapse.
        columns: source neuron of each; no pair of neurons twice.
    """

    kind: Literal["sparse"] = "sparse"
    shape: tuple[Size, Size]
    rows: Any = Field(exclude=True, repr=False)
    columns: Any = Field(exclude=True, repr=False)

    def model_post_init(self, context: Any) -> None:
        """Check weights and indices."""
        self._check_weight(1)
        for name, size in zip(("rows", "columns"), self.shape, strict=True):
            self._own(f"{self.label}: {name}", getattr(self, name), 0, size - 1)
            if getattr(self, name).shape != self.weight.shape:
                raise UnsupportedError(f"{self.label}: {name} and weight differ in length")
        pairs = self.rows.astype(np.int64) * self.shape[1] + self.columns
        if len(np.unique(pairs)) < len(pairs):
            raise UnsupportedError(f"{self.label}: the same pair of neurons is named twice")
        if float(self.shape[0]) * self.shape[1] > NEURON_LIMIT:
            raise UnsupportedError(f"{self.label}: shape {self.shape} is impossibly large")

    def arrays(self) -> dict[str, Integers]:
        """Return the integer arrays by name."""
        return {"weight": self.weight, "rows": self.rows, "columns": self.columns}

    def matrix(self) -> Integers:
        """Return the dense matrix with zeros where there is no synapse."""
        full = np.zeros(self.shape, dtype=np.int32)
        full[self.rows, self.columns] = self.weight
        return full


class Convolution(_Synapse):
    """Cross-correlation as in PyTorch, weight (out, in / groups, height, width): a = floor((W * x) 2^exponent)."""

    kind: Literal["convolution"] = "convolution"
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: Annotated[int, Field(ge=1, le=2**16)] = 1

    def model_post_init(self, context: Any) -> None:
        """Check the weights and the geometry."""
        self._check_weight(4)
        if 0 in self.stride or 0 in self.dilation:
            raise UnsupportedError(f"{self.label}: stride {self.stride} and dilation {self.dilation} must be 1 or more")

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Return (channels, height, width) after this convolution of an input of ``shape``.

        Raises:
            UnsupportedError: ``shape`` does not fit.
        """
        out, per_group, *kernel = self.weight.shape
        if len(shape) != 3 or shape[0] != per_group * self.groups or out % self.groups:
            raise UnsupportedError(f"{self.label}: weight {self.weight.shape}, groups {self.groups} on input {shape}")
        size = [
            (length + 2 * pad - dilation * (k - 1) - 1) // stride + 1
            for length, k, stride, pad, dilation in zip(
                shape[1:], kernel, self.stride, self.padding, self.dilation, strict=True
            )
        ]
        if min(size) < 1:
            raise UnsupportedError(f"{self.label}: kernel {tuple(kernel)} is larger than the input {shape}")
        return out, size[0], size[1]


LoihiSynapse = Dense | Sparse | Convolution
"""Synapses of profile ``lava``."""


class Readout(Part):
    """How classes are read from the neurons of ``population``; the largest output wins, ties go to the lowest index.

    ``spike_count``: spikes over all steps. ``first_spike``: steps minus the step (from 0) of the first spike, 0 if
    there is none. ``membrane``: v after the last step, of sigma-delta neurons their activation (sigma, where that is
    sent); ``scale`` is the real value of 1, where it is known.

    ``every_step``: read at each step: the spikes of the step, or v behind it; outputs are (time, classes) flattened.
    """

    kind: Literal["spike_count", "first_spike", "membrane"] = "spike_count"
    population: Name
    scale: Annotated[float, Field(gt=0.0)] | None = None
    every_step: Annotated[bool, Field(exclude_if=lambda found: not found)] = False

    def model_post_init(self, context: Any) -> None:
        """Check that there is something to read at each step."""
        if self.every_step and self.kind == "first_spike":
            raise UnsupportedError("read-out: the first spike of a sample is no answer at every step; read membranes")

    def output(self, spikes: NDArray[np.bool_], v: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Return the output (batch, classes), or (batch, time classes), from the population's raster.

        Args:
            spikes: (time, batch, ...).
            v: (time, batch, ...) or, where one answer is read, its last step (1, batch, ...); only for ``membrane``.
        """
        steps, batch = spikes.shape[:2]
        if self.every_step:
            each = spikes if self.kind == "spike_count" else v
            assert each is not None
            assert len(each) == steps
            return np.asarray(each, dtype=np.int64).swapaxes(0, 1).reshape(batch, -1)
        if self.kind == "spike_count":
            found = spikes.sum(0)
        elif self.kind == "first_spike":
            found = np.where(spikes.any(0), steps - spikes.argmax(0), 0)
        else:
            assert v is not None
            found = v[-1]
        return np.asarray(found, dtype=np.int64).reshape(batch, -1)
