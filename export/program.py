"""The Program: a network as integers, the one form that every integer target runs.

A Program is a directed acyclic graph of populations joined by synapses. Time is discrete; the arithmetic of one step is
defined by the semantics profile ``lava`` (see docs/program.md), with documented integer ranges enforced here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..toolkit.errors import FileError, UnsupportedError
from ..toolkit.files import digest, read_arrays, write_arrays

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
NEURON_LIMIT = 2**26
"""Largest population that a file may declare, so that a damaged header cannot ask for unbounded memory."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)

    def _own(self, name: str, array: Any, low: int, high: int) -> None:
        """Check an integer array and keep a read-only int32 copy of it."""
        array = np.asarray(array)
        if array.dtype.kind not in "iu":
            raise UnsupportedError(f"{name}: values of type {array.dtype}, expected integers")
        if array.size and (array.min() < low or array.max() > high):
            raise UnsupportedError(f"{name}: values {array.min()} to {array.max()}, allowed are {low} to {high}")
        copy = array.astype(np.int32)
        copy.flags.writeable = False
        object.__setattr__(self, name.rsplit(": ", 1)[-1], copy)


class Input(_Part):
    """What the Program receives at each step: integers of ``shape``, ``message_bits`` wide (0 means binary spikes).

    ``scale`` is the real value of one unit of the message.
    """

    name: Name = "input"
    shape: Shape
    message_bits: Annotated[int, Field(ge=0, le=24)]
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    @property
    def peak(self) -> int:
        """The largest message."""
        return 2**self.message_bits - 1 if self.message_bits else 1


class Population(_Part):
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
    """

    name: Name
    shape: Shape
    du: Annotated[int, Field(ge=-1, le=4095)]
    dv: Annotated[int, Field(ge=0, le=4096)]
    vth: Annotated[int, Field(ge=0, le=VTH_MAX)]
    bias_exponent: Annotated[int, Field(ge=0, le=BIAS_EXPONENT_MAX)] = 0
    bias: Any = Field(exclude=True, repr=False)

    def model_post_init(self, context: Any) -> None:
        """Check the bias against the shape and the 13-bit range."""
        if np.prod(self.shape, dtype=np.float64) > NEURON_LIMIT:
            raise UnsupportedError(f"population {self.name!r}: shape {self.shape} is impossibly large")
        self._own(f"population {self.name!r}: bias", self.bias, *BIAS_MANTISSA)
        if self.bias.shape != self.shape:
            raise UnsupportedError(f"population {self.name!r}: bias of shape {self.bias.shape}, expected {self.shape}")


class _Synapse(_Part):
    source: Name
    target: Name
    bits: Annotated[int, Field(ge=1, le=9)] = 8
    exponent: Annotated[int, Field(ge=WEIGHT_EXPONENT[0], le=WEIGHT_EXPONENT[1])] = 0
    sign: Sign = "mixed"
    weight: Any = Field(exclude=True, repr=False)

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"synapse {self.source!r} -> {self.target!r}"

    def _check_weight(self, dimensions: int) -> None:
        self._own(f"{self.label}: weight", self.weight, -256, 255)
        if self.weight.ndim != dimensions or 0 in self.weight.shape:
            raise UnsupportedError(
                f"{self.label}: weight of shape {self.weight.shape}, expected {dimensions} dimensions"
            )
        # Executors truncate or ignore what is off the grid, each in its own way; on the grid they agree.
        grid = 2 ** (9 - self.bits if self.sign == "mixed" else max(8 - self.bits, 0))
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


Synapse = Dense | Convolution


class Readout(_Part):
    """Classes by the number of spikes of each neuron of ``population`` over all steps, ties to the lowest index."""

    kind: Literal["spike_count"] = "spike_count"
    population: Name


class Program(_Part):
    """A whole network in integers.

    Args:
        input: what it receives.
        populations: in the order of computation: every synapse points forward.
        synapses: between the input and populations.
        readout: how classes are read.
        steps: time steps a sample; state is 0 when a sample starts.
        profile: whose integer arithmetic.

    Raises:
        UnsupportedError: names, shapes, order or depth do not fit together.
    """

    input: Input
    populations: Annotated[tuple[Population, ...], Field(min_length=1, max_length=1000)]
    synapses: Annotated[
        tuple[Annotated[Synapse, Field(discriminator="kind")], ...], Field(min_length=1, max_length=4000)
    ]
    readout: Readout
    steps: Annotated[int, Field(ge=1, le=2**16)]
    profile: Literal["lava"] = "lava"

    def model_post_init(self, context: Any) -> None:
        """Check that the parts fit together."""
        order = [self.input.name, *(population.name for population in self.populations)]
        if len(set(order)) < len(order):
            raise UnsupportedError(f"Program: names must differ: {order}")
        shapes: dict[str, tuple[int, ...]] = {self.input.name: self.input.shape}
        shapes |= {population.name: population.shape for population in self.populations}
        for synapse in self.synapses:
            for end in (synapse.source, synapse.target):
                if end not in shapes:
                    raise UnsupportedError(f"{synapse.label}: no population named {end!r}; there are {order}")
            if order.index(synapse.source) >= order.index(synapse.target):
                raise UnsupportedError(f"{synapse.label}: recurrent or backward synapses cannot be run yet")
            source, target = shapes[synapse.source], shapes[synapse.target]
            if isinstance(synapse, Dense):
                given: tuple[int, ...] = synapse.weight.shape
                expected: tuple[int, ...] = (int(np.prod(target)), int(np.prod(source)))
            else:
                given, expected = synapse.output_shape(source), target
            if tuple(given) != tuple(expected):
                raise UnsupportedError(f"{synapse.label}: gives shape {tuple(given)}, expected {tuple(expected)}")
        if self.readout.population not in order[1:]:
            raise UnsupportedError(f"read-out: no population named {self.readout.population!r}; there are {order[1:]}")
        self.depths()

    def population(self, name: str) -> Population:
        """Return the population called ``name``."""
        return next(population for population in self.populations if population.name == name)

    def incoming(self, name: str) -> Iterator[Synapse]:
        """Yield the synapses that end in the population called ``name``."""
        return (synapse for synapse in self.synapses if synapse.target == name)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return the shape of the input or population called ``name``."""
        return self.input.shape if name == self.input.name else self.population(name).shape

    def depths(self) -> dict[str, int]:
        """Return the number of synapses between the input and each population; each costs one step of latency.

        Raises:
            UnsupportedError: a population has no input, or paths of unequal length lead to it.
        """
        depths = {self.input.name: 0}
        for population in self.populations:
            found = {depths[synapse.source] + 1 for synapse in self.incoming(population.name)}
            if len(found) != 1:
                why = f"paths of unequal length {sorted(found)} lead to it" if found else "no synapse ends in it"
                raise UnsupportedError(f"population {population.name!r}: {why}")
            depths[population.name] = found.pop()
        return depths

    def peak(self, name: str) -> int:
        """Return the largest value that the input or population called ``name`` sends."""
        return self.input.peak if name == self.input.name else 1

    def bound(self, synapse: Synapse) -> int:
        """Return the largest magnitude that ``synapse`` can deliver in a step before its exponent: an exact integer."""
        rows = synapse.weight.astype(np.int64).reshape(synapse.weight.shape[0], -1)
        sums = max(int(np.maximum(rows, 0).sum(1).max()), int(np.maximum(-rows, 0).sum(1).max()))
        return sums * self.peak(synapse.source)

    def header(self) -> dict[str, Any]:
        """Return everything but the arrays, as JSON values."""
        return {"program": json.loads(self.model_dump_json())}

    def arrays(self) -> dict[str, Integers]:
        """Return biases and weights by name."""
        arrays = {f"bias/{population.name}": population.bias for population in self.populations}
        return arrays | {f"weight/{index}": synapse.weight for index, synapse in enumerate(self.synapses)}

    def sha256(self) -> str:
        """Return the SHA-256 of header and arrays: equal for equal Programs."""
        parts = [json.dumps(self.header(), sort_keys=True).encode()]
        for name, array in sorted(self.arrays().items()):
            parts += [name.encode(), repr(array.shape).encode(), np.ascontiguousarray(array).tobytes()]
        return digest(b"\0".join(parts))


def write_program(path: Path, program: Program) -> None:
    """Write a Program as one safetensors file: integers by name, and a JSON header."""
    write_arrays(path, "program", program.arrays(), program.header())


def read_program(path: Path) -> Program:
    """Return the Program in ``path``, equal bit for bit to the one written.

    Raises:
        FileError: missing, corrupt, foreign, or not a valid Program; the message names the faulty part.
    """
    arrays, header = read_arrays(path, "program")
    values: Any = header.get("program")
    try:
        for population in values["populations"]:
            population["bias"] = arrays.pop(f"bias/{population['name']}")
            population["shape"] = tuple(population["shape"])
        for index, synapse in enumerate(values["synapses"]):
            synapse["weight"] = arrays.pop(f"weight/{index}")
            for key in ("stride", "padding", "dilation"):
                if isinstance(synapse.get(key), list):
                    synapse[key] = tuple(synapse[key])
        values["input"]["shape"] = tuple(values["input"]["shape"])
        values["populations"], values["synapses"] = tuple(values["populations"]), tuple(values["synapses"])
        if arrays:
            raise FileError(f"{path}: arrays that no part names: {', '.join(sorted(arrays))}; export again")
        return Program.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FileError(f"{path}: Program part {where}: {first['msg']}; export again") from error
    except UnsupportedError as error:
        raise FileError(f"{path}: {error}; export again") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path}: not a complete Program ({type(error).__name__}: {error}); export again") from error
