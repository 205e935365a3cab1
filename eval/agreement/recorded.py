"""Reading what a board or another simulator recorded: arrays of an ``.npz``, or columns of a CSV file."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Graded, Program
from ...toolkit.data.archive import read_all
from ...toolkit.errors import FileError, InputError
from ...toolkit.files import read_arrays, read_bytes
from ..records.trace import Quantity

Numbers = NDArray[Any]
NAME = re.compile(r"(spikes|u|v)/([^/]+)(?:/(\d+))?")
LARGEST = 2**28
"""Values that an array of a file may have."""
WIDEST = 2**53
"""Largest magnitude of a value: beyond, a double is no exact integer."""


@dataclass(frozen=True)
class Column:
    """What was recorded of one quantity of a population.

    Attributes:
        population: its name.
        quantity: u, v or spikes.
        neurons: places in the flattened population that were recorded.
        values: (time, samples, neurons).
    """

    population: str
    quantity: Quantity
    neurons: NDArray[np.int64]
    values: Numbers


@dataclass(frozen=True)
class Recorded:
    """A trace.

    Attributes:
        columns: what was recorded.
        inputs: messages (time, samples, ...) that it was recorded on; None where the trace does not hold them.
    """

    columns: tuple[Column, ...]
    inputs: NDArray[np.int32] | None

    @property
    def steps(self) -> int:
        """Rows."""
        return len(self.columns[0].values)

    @property
    def samples(self) -> int:
        """Samples."""
        return int(self.columns[0].values.shape[1])


def _csv(path: Path, columns: Sequence[str] | None) -> dict[str, Numbers]:
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not a CSV in UTF-8 ({error})") from error
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise FileError(f"{path}: not a readable CSV ({error})") from error
    if columns is None and rows:
        columns, rows = [name.strip() for name in rows[0]], rows[1:]
        if all(re.fullmatch(r"[-+0-9.eE]+", name) for name in columns):
            raise InputError(
                f"{path}: the first row is numbers; name the columns with --columns, as input,v/lif,spikes/lif "
                "('-' skips one)"
            )
    assert columns is not None or not rows
    if not columns or not rows:
        raise InputError(f"{path}: no rows")
    wrong = next((number for number, row in enumerate(rows) if len(row) != len(columns)), None)
    if wrong is not None:
        raise InputError(f"{path}: row {wrong} has {len(rows[wrong])} columns, expected {', '.join(columns)}")
    found: dict[str, Numbers] = {}
    for place, name in enumerate(columns):
        if name == "-":
            continue
        if name in found:
            raise InputError(f"{path}: two columns are called {name!r}")
        try:
            found[name] = np.array([float(row[place]) for row in rows])
        except ValueError as error:
            raise InputError(f"{path}: column {name!r}: {error}") from error
    return found


def read_trace(path: Path, columns: Sequence[str] | None = None) -> dict[str, Numbers]:
    """Return the arrays of a trace by name: of ``.npz``, of CSV, or of the trace that ``simulate --rasters`` writes.

    Args:
        path: the file.
        columns: of a CSV without a first row of names; "-" skips one.

    Raises:
        FileError: missing or unreadable.
        InputError: a file of another kind, or columns that do not fit.
    """
    suffix = path.suffix.lower()
    if columns is not None and suffix != ".csv":
        raise InputError(f"{path}: --columns belongs to CSV files")
    if suffix == ".npz":
        return read_all(path)
    if suffix == ".csv":
        return _csv(path, columns)
    if suffix == ".safetensors":
        return dict(read_arrays(path, "trace")[0])
    raise InputError(f"{path}: a trace is an .npz, a .csv, or the .safetensors of 'simulate --rasters'")


def _whole(name: str, values: Numbers) -> Numbers:
    """Return integers; refuse what is none."""
    if values.dtype.kind not in "biuf":
        raise InputError(f"trace: {name!r} holds {values.dtype}, expected numbers")
    if values.size > LARGEST:
        raise InputError(f"trace: {name!r} has {values.size:,} values; record fewer samples")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise InputError(f"trace: {name!r} holds values that are not finite")
        if (values != np.rint(values)).any():
            raise InputError(
                f"trace: {name!r} holds fractions; a Program has integers: record them as the chip has them"
            )
    if values.size and (float(values.min()) < -WIDEST or float(values.max()) > WIDEST):
        low, high = float(values.min()), float(values.max())
        raise InputError(f"trace: {name!r} holds {low:g} to {high:g}; no value of a chip is that large")
    return values.astype(np.int64)


def _block(name: str, values: Numbers, shape: tuple[int, ...]) -> Numbers:
    """Return (time, samples, neurons) of an array (time, ...shape) or (time, samples, ...shape)."""
    size = int(np.prod(shape))
    for axes in (shape, (size,)):
        if values.ndim == 1 + len(axes) and values.shape[1:] == axes:
            return values.reshape(len(values), 1, size)
        if values.ndim == 2 + len(axes) and values.shape[2:] == axes:
            return values.reshape(*values.shape[:2], size)
    if size == 1 and values.ndim == 1:
        return values.reshape(len(values), 1, 1)
    if size == 1 and values.ndim == 2:
        return values[:, :, None]
    raise InputError(
        f"trace: {name!r} has shape {values.shape}, expected (time, samples, {', '.join(map(str, shape))}), or without "
        "samples"
    )


def recorded(program: Program, arrays: Mapping[str, Numbers]) -> Recorded:
    """Return what a trace's arrays say of a Program.

    Args:
        program: whose populations they name.
        arrays: ``spikes/POPULATION``, ``u/POPULATION``, ``v/POPULATION`` (time, samples, ...), or (time, ...) of one
            sample; of a single neuron ``v/POPULATION/7``, its place in the flattened population. ``input`` (and
            ``input/7``): messages. Others are ignored if they are what ``simulate`` writes beside (output, counts).

    Raises:
        InputError: no such population, another shape, or values that are no integers.
    """
    names = {population.name: population for population in program.populations}
    blocks: dict[tuple[str, Quantity], Numbers] = {}
    single: dict[tuple[str, Quantity], dict[int, Numbers]] = {}
    for name, values in arrays.items():
        if name == "output" or name.startswith("counts/") or name.split("/")[0] == "input":
            continue
        match = NAME.fullmatch(name)
        if match is None or match[2] not in names:
            known = ", ".join(f"spikes/{population}" for population in names)
            raise InputError(f"trace: {name!r} is none of {known}, u/..., v/..., input")
        kind: Quantity = match[1]  # type: ignore[assignment]
        population = names[match[2]]
        if isinstance(population, Graded) and kind != "spikes":
            raise InputError(f"trace: {name!r}: a graded population has no {kind}; its messages are its spikes")
        whole = _whole(name, np.asarray(values))
        if match[3] is None:
            blocks[match[2], kind] = _block(name, whole, population.shape)
            continue
        place, size = int(match[3]), int(np.prod(population.shape))
        if place >= size:
            raise InputError(f"trace: {name!r}: the population has {size} neurons")
        single.setdefault((match[2], kind), {})[place] = _block(name, whole, (1,))[:, :, 0]
    columns = [Column(name, kind, np.arange(block.shape[2]), block) for (name, kind), block in blocks.items()]
    for (name, kind), parts in single.items():
        places = sorted(parts)
        _same_length({f"{kind}/{name}/{place}": parts[place] for place in places})
        columns.append(Column(name, kind, np.array(places), np.stack([parts[place] for place in places], -1)))
    if not columns:
        raise InputError("trace: nothing recorded; name arrays spikes/POPULATION, u/POPULATION, v/POPULATION")
    _same_length({f"{one.quantity}/{one.population}": one.values[..., 0] for one in columns})
    if not columns[0].values.size:
        raise InputError("trace: no rows, or no samples")
    order = list(names)
    columns.sort(key=lambda one: (order.index(one.population), ("u", "v", "spikes").index(one.quantity)))
    found = Recorded(tuple(columns), None)
    return Recorded(found.columns, _inputs(program, arrays, found.samples))


def _same_length(parts: Mapping[str, Numbers]) -> None:
    shapes = {name: part.shape for name, part in parts.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"trace: (time, samples) differ: {told}")


def _inputs(program: Program, arrays: Mapping[str, Numbers], samples: int) -> NDArray[np.int32] | None:
    """Return the messages of a trace, (time, samples, ...); rows beyond the Program's steps must be silent."""
    shape = program.input.shape
    given = {name: values for name, values in arrays.items() if name.split("/")[0] == "input"}
    if not given:
        return None
    if "input" in given:
        block = _block("input", _whole("input", np.asarray(given["input"])), shape)
    else:
        size = int(np.prod(shape))
        wanted = [f"input/{place}" for place in range(size)]
        missing = [name for name in wanted if name not in given]
        if missing or len(given) != size:
            raise InputError(f"trace: the input has {size} entries; {', '.join(missing[:3]) or 'others'} are not there")
        block = np.stack([_block(name, _whole(name, np.asarray(given[name])), (1,))[:, :, 0] for name in wanted], -1)
    if block.shape[1] != samples:
        raise InputError(f"trace: input of {block.shape[1]} samples, but {samples} were recorded")
    steps = program.steps
    if block[steps:].any():
        raise InputError(
            f"trace: input goes on behind the Program's {steps} steps; lengthen the Program, or cut the trace"
        )
    full = np.zeros((steps, *block.shape[1:]), np.int64)
    full[: len(block)] = block[:steps]
    if full.size and (full.min() < 0 or full.max() > program.input.peak):
        raise InputError(
            f"trace: input {full.min()} to {full.max()}, the Program's messages are 0 to {program.input.peak}"
        )
    return full.reshape(steps, samples, *shape).astype(np.int32)
