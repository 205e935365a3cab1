"""The Program: a network as integers, the one form that every integer target runs.

A Program is a graph of populations joined by synapses. Time is discrete; the arithmetic of one step is defined by the
semantics profile ``lava`` (see docs/program.md), with documented integer ranges enforced by its parts.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, PrivateAttr, Tag, ValidationError

from ...toolkit.errors import FileError, UnsupportedError
from ...toolkit.files import digest, read_arrays, write_arrays
from .parts import (
    BIAS_MANTISSA,
    Convolution,
    Dense,
    Graded,
    Input,
    Integers,
    Part,
    Population,
    Readout,
    SigmaDelta,
    Sparse,
)
from .shifting import Shifted, Shifting

Synapse = Dense | Sparse | Convolution | Shifted
Neurons = Population | Graded | SigmaDelta | Shifting

FORMAT = 1
"""Version of the file, not of what it holds: a Program's hash does not depend on it."""


def _kind_of_neurons(values: Any) -> str:
    if isinstance(values, dict):
        return "graded" if "message_bits" in values else str(values.get("kind", "lif"))
    if isinstance(values, SigmaDelta | Shifting):
        return values.kind
    return "graded" if isinstance(values, Graded) else "lif"


_AnyNeurons = Annotated[
    Annotated[Population, Tag("lif")]
    | Annotated[Graded, Tag("graded")]
    | Annotated[SigmaDelta, Tag("sigma_delta")]
    | Annotated[Shifting, Tag("shifting")],
    Discriminator(_kind_of_neurons),
]


class Program(Part):
    """A whole network in integers.

    Args:
        input: what it receives.
        populations: in the order of computation; a synapse from a later one, or from itself, is recurrent.
        synapses: between the input and populations.
        readout: how classes are read.
        steps: time steps a sample; state is 0 when a sample starts.
        profile: whose integer arithmetic.

    Raises:
        UnsupportedError: names, shapes, order or depth do not fit together.
    """

    input: Input
    populations: Annotated[tuple[_AnyNeurons, ...], Field(min_length=1, max_length=1000)]
    synapses: Annotated[tuple[Annotated[Synapse, Field(discriminator="kind")], ...], Field(max_length=2**15)]
    readout: Readout
    steps: Annotated[int, Field(ge=1, le=2**16)]
    profile: Literal["lava", "xylo"] = "lava"
    _places: dict[str, int] = PrivateAttr(default_factory=dict)
    _depths: dict[str, int] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any) -> None:
        """Check that the parts fit together."""
        order = [self.input.name, *(population.name for population in self.populations)]
        if len(set(order)) < len(order):
            raise UnsupportedError(f"Program: names must differ: {order}")
        self._places.update({name: place for place, name in enumerate(order)})
        shapes: dict[str, tuple[int, ...]] = {self.input.name: self.input.shape}
        shapes |= {population.name: population.shape for population in self.populations}
        ends = {population.name for population in self.sigma_delta if population.sends == "sigma"}
        for synapse in self.synapses:
            for end in (synapse.source, synapse.target):
                if end not in shapes:
                    raise UnsupportedError(f"{synapse.label}: no population named {end!r}; there are {order}")
            if synapse.target == self.input.name:
                raise UnsupportedError(f"{synapse.label}: nothing can end in the input")
            if synapse.source in ends:
                raise UnsupportedError(f"{synapse.label}: its source sends sigma itself, which only a host takes")
            source, target = shapes[synapse.source], shapes[synapse.target]
            if isinstance(synapse, Dense | Shifted):
                given: tuple[int, ...] = synapse.weight.shape
                expected: tuple[int, ...] = (int(np.prod(target)), int(np.prod(source)))
            elif isinstance(synapse, Sparse):
                given, expected = synapse.shape, (int(np.prod(target)), int(np.prod(source)))
            else:
                given, expected = synapse.output_shape(source), target
            if tuple(given) != tuple(expected):
                raise UnsupportedError(f"{synapse.label}: gives shape {tuple(given)}, expected {tuple(expected)}")
        if self.readout.population not in order[1:]:
            raise UnsupportedError(f"read-out: no population named {self.readout.population!r}; there are {order[1:]}")
        last = self.population(self.readout.population)
        if isinstance(last, Graded):
            raise UnsupportedError(
                f"read-out: population {self.readout.population!r} does not spike; read a spiking one"
            )
        if isinstance(last, SigmaDelta) and self.readout.kind != "membrane":
            raise UnsupportedError(
                f"read-out: population {last.name!r} sends graded changes, so read its membrane, not "
                f"{self.readout.kind!r}"
            )
        self._check_profile()
        self._check_messages()
        self._find_depths()

    def _check_profile(self) -> None:
        """Check that all parts are of the profile's arithmetic."""
        for part in (*self.populations, *self.synapses):
            if isinstance(part, Shifting | Shifted) != (self.profile == "xylo"):
                label = part.label if isinstance(part, Synapse) else f"population {part.name!r}"
                raise UnsupportedError(f"{label}: {type(part).__name__} is no part of profile {self.profile!r}")
        for synapse in self.synapses:
            target = self.population(synapse.target)
            if isinstance(target, Shifting) and isinstance(synapse, Shifted) and synapse.port >= len(target.dash_syn):
                raise UnsupportedError(f"{synapse.label}: its target has no synaptic current {synapse.port}")

    def _check_messages(self) -> None:
        """Check that bias-coded input fits the bias, and graded messages their bits."""
        for population in self.populations:
            name = population.name
            if isinstance(population, Graded):
                for synapse in self.incoming(name):
                    if self.bound(synapse) >= 2**23:
                        raise UnsupportedError(
                            f"{synapse.label}: sums up to {self.bound(synapse)} would wrap the 24-bit graded message"
                        )
                top = int(np.max(sum(self._most(synapse) for synapse in self.incoming(name))))
                if top >= 2**population.message_bits:
                    raise UnsupportedError(
                        f"population {name!r}: sums up to {top} do not fit messages of {population.message_bits} bits"
                    )
            elif population.input_bias:
                if population.shape != self.input.shape:
                    raise UnsupportedError(
                        f"population {name!r}: bias-coded input has shape {self.input.shape}, not {population.shape}"
                    )
                if int(population.bias.max()) + self.input.peak > BIAS_MANTISSA[1]:
                    raise UnsupportedError(
                        f"population {name!r}: bias plus bias-coded input up to {self.input.peak} leaves 13 bits"
                    )

    def _most(self, synapse: Synapse) -> NDArray[np.int64]:
        """Return the largest positive sum that ``synapse`` can deliver to each target neuron in a step."""
        if isinstance(synapse, Convolution) and any(synapse.padding):
            # At the edges the kernel is cut, so that not all of its weights meet.
            most = np.abs(synapse.weight) if self.signed(synapse.source) else np.maximum(synapse.weight, 0)
            rows = _reached(synapse, most, self.shape_of(synapse.source), self.shape_of(synapse.target))
        else:
            rows = synapse.matrix().astype(np.int64)
            rows = (np.abs(rows) if self.signed(synapse.source) else np.maximum(rows, 0)).sum(1)
        rows = rows * self.peak(synapse.source)
        top = rows << synapse.exponent if synapse.exponent >= 0 else rows >> -synapse.exponent
        neurons = int(np.prod(self.shape_of(synapse.target)))
        return np.repeat(top, neurons // len(rows))  # A convolution has one row a channel.

    def _find_depths(self) -> None:
        self._depths[self.input.name] = 0
        for population in self.populations:
            name = population.name
            arrivals = [
                self._depths[synapse.source] + 1 + synapse.delay
                for synapse in self.incoming(name)
                if self.forward(synapse)
            ]
            if not isinstance(population, Graded) and population.input_bias:
                arrivals = arrivals or [0]
            if not arrivals:
                raise UnsupportedError(f"population {name!r}: no forward synapse ends in it")
            self._depths[name] = min(arrivals) if population.start is None else population.start
        for synapse in self.synapses:
            lag = self.lag(synapse)
            if lag < 0:
                raise UnsupportedError(
                    f"{synapse.label}: arrives {-lag} steps before the window of its target starts; "
                    "delay it as much, or start the window earlier"
                )
            if lag == 0 and not self.forward(synapse):
                raise UnsupportedError(
                    f"{synapse.label}: what it carries is used in the same step of the window; list its source first"
                )

    def population(self, name: str) -> Neurons:
        """Return the population called ``name``."""
        return self.populations[self._places[name] - 1]

    @property
    def graded(self) -> list[str]:
        """Names of the populations that send graded spikes."""
        return [population.name for population in self.populations if isinstance(population, Graded)]

    @property
    def spiking(self) -> tuple[Population, ...]:
        """The populations that send binary spikes."""
        return tuple(population for population in self.populations if isinstance(population, Population))

    @property
    def sigma_delta(self) -> tuple[SigmaDelta, ...]:
        """The populations of sigma-delta neurons."""
        return tuple(population for population in self.populations if isinstance(population, SigmaDelta))

    @property
    def stateful(self) -> tuple[Population | SigmaDelta | Shifting, ...]:
        """The populations with state: all that are not graded."""
        return tuple(population for population in self.populations if not isinstance(population, Graded))

    def incoming(self, name: str) -> Iterator[Synapse]:
        """Yield the synapses that end in the population called ``name``."""
        return (synapse for synapse in self.synapses if synapse.target == name)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return the shape of the input or population called ``name``."""
        return self.input.shape if name == self.input.name else self.population(name).shape

    def forward(self, synapse: Synapse) -> bool:
        """Return whether ``synapse`` points forward in the order of populations; the others are recurrent."""
        return self._places[synapse.source] < self._places[synapse.target]

    def depths(self) -> dict[str, int]:
        """Return when a population's window starts, in steps after the sample was sent, by name.

        Unless a population says so itself: the shortest forward path to it; each synapse costs one step, and its delay,
        bias-coded input costs none. The window is the ``steps`` steps from there.
        """
        return dict(self._depths)

    def lag(self, synapse: Synapse) -> int:
        """Return how many steps later than the sample itself, in its target's window, a message of ``synapse`` arrives.

        0 on the shortest path to a population; 1 or more for longer paths, delays beyond it, and recurrent synapses.
        """
        return self._depths[synapse.source] + 1 + synapse.delay - self._depths[synapse.target]

    @property
    def recurrent(self) -> bool:
        """Whether any synapse is recurrent."""
        return not all(self.forward(synapse) for synapse in self.synapses)

    def peak(self, name: str) -> int:
        """Return the largest magnitude that the input or population called ``name`` sends; see :meth:`signed`."""
        if name == self.input.name:
            return self.input.peak
        population = self.population(name)
        if isinstance(population, SigmaDelta):
            return population.peak
        if isinstance(population, Shifting):
            return population.most
        return int(2**population.message_bits) - 1 if isinstance(population, Graded) else 1

    def signed(self, name: str) -> bool:
        """Return whether what the input or population called ``name`` sends may be below 0."""
        return name != self.input.name and isinstance(self.population(name), SigmaDelta)

    def message_bits(self, name: str) -> int:
        """Return the width of the messages of the input or population called ``name``; 0 means binary spikes."""
        if name == self.input.name:
            return self.input.message_bits
        population = self.population(name)
        if isinstance(population, SigmaDelta):
            return population.peak.bit_length()
        return population.message_bits if isinstance(population, Graded) else 0

    @property
    def largest_output(self) -> float:
        """The read-out that stands for a real answer of 1: steps for spikes, for membranes 1 a step.

        Where it is read at every step, 1 for a spike, and for membranes a real voltage of 1.
        Where no scale of a membrane is known, its threshold. Sigma-delta neurons hold their real value at any step.
        """
        readout = self.readout
        last = self.population(readout.population)
        if isinstance(last, SigmaDelta):
            return 2.0**last.exponent if readout.scale is None else 1 / readout.scale
        times = 1 if readout.every_step else self.steps
        if readout.kind != "membrane":
            return float(times)
        if readout.scale is not None:
            return times / readout.scale
        return 64.0 * max(last.vth, 1)

    def bound(self, synapse: Synapse) -> int:
        """Return the largest magnitude that ``synapse`` can deliver in a step before its exponent: an exact integer."""
        rows = synapse.matrix().astype(np.int64)
        if self.signed(synapse.source):
            sums = int(np.abs(rows).sum(1).max())
        else:
            sums = max(int(np.maximum(rows, 0).sum(1).max()), int(np.maximum(-rows, 0).sum(1).max()))
        return sums * self.peak(synapse.source)

    def header(self) -> dict[str, Any]:
        """Return everything but the arrays, as JSON values."""
        values = json.loads(self.model_dump_json())
        # Absent is the default, so that what a Program may hold can grow without changing the hash of older ones.
        for population in values["populations"]:
            for key in [key for key, value in population.items() if value is None or value is False]:
                del population[key]
        return {"program": values}

    def arrays(self) -> dict[str, Integers]:
        """Return biases and weights by name."""
        arrays = {f"bias/{population.name}": population.bias for population in self.stateful}
        for index, synapse in enumerate(self.synapses):
            arrays |= {f"{name}/{index}": array for name, array in synapse.arrays().items()}
        return arrays

    def sha256(self) -> str:
        """Return the SHA-256 of header and arrays: equal for equal Programs."""
        parts = [json.dumps(self.header(), sort_keys=True).encode()]
        for name, array in sorted(self.arrays().items()):
            parts += [name.encode(), repr(array.shape).encode(), np.ascontiguousarray(array).tobytes()]
        return digest(b"\0".join(parts))


def _reached(
    conv: Convolution, weight: Integers, source: tuple[int, ...], target: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return the sum of the given weights that each target neuron of a convolution has a source for."""
    found = np.zeros(target, dtype=np.int64)
    weights = weight.astype(np.int64).sum(1)
    for ky, kx in np.ndindex(*conv.weight.shape[2:]):
        inside = []
        for axis, k in ((0, ky), (1, kx)):
            place = np.arange(target[1 + axis]) * conv.stride[axis] + k * conv.dilation[axis] - conv.padding[axis]
            inside.append((place >= 0) & (place < source[1 + axis]))
        found += weights[:, ky, kx, None, None] * (inside[0][:, None] & inside[1])
    return found.reshape(-1)


def write_program(path: str | Path, program: Program) -> None:
    """Write a Program as one safetensors file: integers by name, and a JSON header with :data:`FORMAT`."""
    write_arrays(Path(path), "program", program.arrays(), program.header(), FORMAT)


def read_program(path: str | Path) -> Program:
    """Return the Program in ``path``, equal bit for bit to the one written.

    Raises:
        FileError: missing, corrupt, foreign, not a valid Program (the message names the faulty part), or written by a
            newer spikeproof.
    """
    path = Path(path)
    arrays, header = read_arrays(path, "program", FORMAT)
    values: Any = header.get("program")
    try:
        for population in values["populations"]:
            if _kind_of_neurons(population) != "graded":
                population["bias"] = arrays.pop(f"bias/{population['name']}")
            population["shape"] = tuple(population["shape"])
            if isinstance(population.get("dash_syn"), list):
                population["dash_syn"] = tuple(population["dash_syn"])
        for index, synapse in enumerate(values["synapses"]):
            for name in ("weight", "rows", "columns") if synapse.get("kind") == "sparse" else ("weight",):
                synapse[name] = arrays.pop(f"{name}/{index}")
            for key in ("stride", "padding", "dilation", "shape"):
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
