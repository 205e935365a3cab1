"""The Program: a network as integers, the one form that every integer target runs.

A Program is a graph of populations joined by synapses. Time is discrete; the arithmetic of one step is defined by the
semantics profile ``lava`` (see docs/program.md), with documented integer ranges enforced by its parts.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from ..toolkit.errors import FileError, UnsupportedError
from ..toolkit.files import digest, read_arrays, write_arrays
from .parts import (
    BIAS_EXPONENT_MAX,
    BIAS_MANTISSA,
    DELAY_MAX,
    VTH_MAX,
    WEIGHT_EXPONENT,
    Convolution,
    Dense,
    Input,
    Integers,
    Part,
    Population,
    Readout,
    Sparse,
    Synapse,
)

__all__ = [
    "BIAS_EXPONENT_MAX",
    "BIAS_MANTISSA",
    "DELAY_MAX",
    "VTH_MAX",
    "WEIGHT_EXPONENT",
    "Convolution",
    "Dense",
    "Input",
    "Integers",
    "Population",
    "Program",
    "Readout",
    "Sparse",
    "Synapse",
    "read_program",
    "write_program",
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
            if synapse.target == self.input.name:
                raise UnsupportedError(f"{synapse.label}: nothing can end in the input")
            source, target = shapes[synapse.source], shapes[synapse.target]
            if isinstance(synapse, Dense):
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

    def forward(self, synapse: Synapse) -> bool:
        """Return whether ``synapse`` points forward in the order of populations; the others are recurrent."""
        order = [self.input.name, *(population.name for population in self.populations)]
        return order.index(synapse.source) < order.index(synapse.target)

    def depths(self) -> dict[str, int]:
        """Return when a sample arrives at each population, in steps after it was sent: the shortest forward path.

        Each synapse costs one step, and its delay. A population's window is the ``steps`` steps from there.

        Raises:
            UnsupportedError: no forward synapse ends in a population.
        """
        depths = {self.input.name: 0}
        for population in self.populations:
            forward = [synapse for synapse in self.incoming(population.name) if self.forward(synapse)]
            if not forward:
                raise UnsupportedError(f"population {population.name!r}: no forward synapse ends in it")
            depths[population.name] = min(depths[synapse.source] + 1 + synapse.delay for synapse in forward)
        return depths

    def lag(self, synapse: Synapse) -> int:
        """Return how many steps later than the sample itself, in its target's window, a message of ``synapse`` arrives.

        0 on the shortest path to a population; 1 or more for longer paths, delays beyond it, and recurrent synapses.
        """
        depths = self.depths()
        return depths[synapse.source] + 1 + synapse.delay - depths[synapse.target]

    @property
    def recurrent(self) -> bool:
        """Whether any synapse is recurrent."""
        return not all(self.forward(synapse) for synapse in self.synapses)

    def peak(self, name: str) -> int:
        """Return the largest value that the input or population called ``name`` sends."""
        return self.input.peak if name == self.input.name else 1

    def bound(self, synapse: Synapse) -> int:
        """Return the largest magnitude that ``synapse`` can deliver in a step before its exponent: an exact integer."""
        rows = synapse.matrix().astype(np.int64)
        sums = max(int(np.maximum(rows, 0).sum(1).max()), int(np.maximum(-rows, 0).sum(1).max()))
        return sums * self.peak(synapse.source)

    def header(self) -> dict[str, Any]:
        """Return everything but the arrays, as JSON values."""
        return {"program": json.loads(self.model_dump_json())}

    def arrays(self) -> dict[str, Integers]:
        """Return biases and weights by name."""
        arrays = {f"bias/{population.name}": population.bias for population in self.populations}
        for index, synapse in enumerate(self.synapses):
            arrays |= {f"{name}/{index}": array for name, array in synapse.arrays().items()}
        return arrays

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
