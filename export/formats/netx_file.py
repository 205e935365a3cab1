"""The layers of a ``.net`` file of lava-dl, whoever wrote it: bounded reading, and what has no form refused by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...toolkit.errors import FileError, UnsupportedError
from ..hdf5 import Untrusted, opened
from ..program.parts import NEURON_LIMIT
from .netx_weights import Matrix

LAYER_LIMIT, FIELD_LIMIT = 512, 64
"""Most layers of a file, and most fields of a layer."""
INTEGER_LIMIT = 2**31

NO_FORM = {
    "affine": "a layer without neurons, whose sums are no spikes",
    "concat": "skip connections, which lava-dl's importer does not load either; nothing says how late they arrive",
    "convT": "transposed convolutions, which lava-dl's importer does not load either",
    "dense_comp": "complex weights of resonate-and-fire neurons",
    "time_decimation": "sums over several steps, which no population sends",
    "unpool": "unpooling, which lava-dl's importer does not load either",
}
"""Kinds of layers that are refused, with the reason."""
NO_NEURON = {
    "ALIF": "adaptive thresholds are a third state, which Loihi's fixed-point neuron has not",
}
KINDS = ("input", "flatten", "dense", "dense_rec", "conv", "pool", "average")


@dataclass(frozen=True)
class Cuba:
    """A layer's neurons, as the importer sets them: du = iDecay - 1, dv = vDecay, vth = vThMant."""

    du: int
    dv: int
    vth: int


@dataclass(frozen=True)
class Changes:
    """A layer's sigma-delta neurons: vth = vThMant; ``sigma`` where they send what they hold, not its changes."""

    vth: int
    sigma: bool


@dataclass(frozen=True)
class FileLayer:
    """One layer of the file.

    Attributes:
        where: how messages name it.
        index: in the file.
        kind: one of :data:`KINDS`.
        shape: (channels, height, width) or (neurons,); empty where the file has none.
        neuron: None where the file has none.
        weight: as in the file, integers; of an input one number.
        loops: from the layer itself, dense_rec only.
        bias: mantissas to exponent 6, of any shape.
        delay: further steps, of any shape.
        stride, padding, dilation: (height, width).
        groups: of a convolution.
    """

    where: str
    index: int
    kind: str
    shape: tuple[int, ...]
    neuron: Cuba | Changes | None = None
    weight: Matrix | None = None
    loops: Matrix | None = None
    bias: Matrix | None = None
    delay: Matrix | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


class _Fields(Untrusted):
    """Reads the fields of layers as integers and texts."""

    def text(self, group: h5py.Group, name: str, where: str) -> str:
        found = self.values(self.item(group, name, where), f"{where}: field {name!r}")
        while isinstance(found, list) and len(found) == 1:
            (found,) = found
        if not isinstance(found, str):
            raise FileError(f"{where}: field {name!r} is not a text")
        return found

    def integers(self, group: h5py.Group, name: str, where: str) -> Matrix | None:
        """Return a field as integers of its own shape, None where it is missing."""
        if name not in group:
            return None
        if isinstance(group.get(name), h5py.Group):
            raise UnsupportedError(f"{where}: field {name!r} is complex; only resonate-and-fire neurons take that")
        item = self.item(group, name, where)
        if isinstance(item, h5py.Dataset) and item.shape is not None and item.size > NEURON_LIMIT:
            raise FileError(f"{where}: field {name!r} of shape {item.shape} is too large for a network")
        found = np.asarray(self.values(item, f"{where}: field {name!r}"))
        if found.dtype.kind not in "fiub" or not found.size:
            raise FileError(f"{where}: field {name!r} holds no numbers")
        if found.dtype.kind == "f":
            if not np.isfinite(found).all():
                raise FileError(f"{where}: field {name!r} holds NaN or infinity")
            if (found != np.rint(found)).any():
                raise UnsupportedError(
                    f"{where}: field {name!r} holds fractions; lava-dl exports integers where its quantizer was on "
                    "(pre_hook_fx), and its importer would cut them off"
                )
        if float(found.min()) < -INTEGER_LIMIT or float(found.max()) >= INTEGER_LIMIT:
            raise FileError(f"{where}: field {name!r} holds {found.min():g} to {found.max():g}, beyond 32 bits")
        return found.astype(np.int64)

    def number(self, group: h5py.Group, name: str, where: str, default: int | None = None) -> int:
        """Return a field that holds one integer."""
        found = self.integers(group, name, where)
        if found is None:
            if default is None:
                raise FileError(f"{where}: field {name!r} is missing")
            return default
        if found.size > 1:
            raise UnsupportedError(f"{where}: field {name!r} holds {found.size} values; a population shares one")
        return int(found.item())

    def pair(self, group: h5py.Group, name: str, where: str, default: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) of a field that holds both, or one number for both."""
        found = self.integers(group, name, where)
        if found is None:
            return default
        if found.size not in (1, 2):
            raise FileError(f"{where}: field {name!r} holds {found.size} values, expected height and width")
        first, second = np.resize(found, 2)
        return int(first), int(second)

    def neuron(self, group: h5py.Group, where: str) -> Cuba | Changes | None:
        """Return a layer's neurons."""
        if "neuron" not in group:
            return None
        inner, place = self.item(group, "neuron", where), f"{where}: neuron"
        if not isinstance(inner, h5py.Group) or len(inner) > FIELD_LIMIT:
            raise FileError(f"{place}: is not a group of at most {FIELD_LIMIT} fields")
        kind = self.text(inner, "type", place)
        if kind == "SDNN":
            return self._changes(inner, place)
        if kind not in ("CUBA", "LOIHI"):
            reason = NO_NEURON.get(
                kind, "resonating states are complex" if "RF" in kind else "lava-dl has no such type"
            )
            raise UnsupportedError(f"{place} of type {kind!r}: {reason}; only CUBA (LOIHI) and SDNN have a form here")
        # The importer passes over these: with other values it would compute another network than was trained.
        for name, plain, what in (
            ("refDelay", 1, "a refractory period"),
            ("gradedSpike", 0, "graded spikes of neurons with state"),
            ("wgtExp", 0, "a weight exponent"),
            ("weight_exp", 0, "a weight exponent of its norm"),
        ):
            value = self.number(inner, name, place, plain)
            if value not in (plain, 0):
                raise UnsupportedError(f"{place}: {name} = {value}, {what}, which lava-dl's importer ignores")
        found = Cuba(
            self.number(inner, "iDecay", place) - 1,
            self.number(inner, "vDecay", place),
            self.number(inner, "vThMant", place),
        )
        for name, value, low, high in (
            ("iDecay", found.du + 1, 0, 4096),
            ("vDecay", found.dv, 0, 4096),
            ("vThMant", found.vth, 0, 2**17 - 1),
        ):
            if not low <= value <= high:
                raise UnsupportedError(f"{place}: {name} = {value}, Loihi's field takes {low} to {high}")
        return found

    def _changes(self, inner: h5py.Group, place: str) -> Changes:
        activation = self.text(inner, "activation", place) if "activation" in inner else "relu"
        if activation != "relu":
            raise UnsupportedError(f"{place}: activation {activation!r}; lava-dl's importer takes relu for all")
        if "messageBits" in inner:
            raise UnsupportedError(f"{place}: messageBits, with which lava-dl's importer fails")
        vth = self.number(inner, "vThMant", place)
        if not 0 <= vth <= 2**17 - 1:
            raise UnsupportedError(f"{place}: vThMant = {vth}, a Program's field takes 0 to {2**17 - 1}")
        # The importer looks for the name only.
        return Changes(vth, "sigma_output" in inner)

    def layer(self, group: Any, index: int) -> FileLayer:
        """Return a layer of the file."""
        where = f"{self.source}: layer {index}"
        if not isinstance(group, h5py.Group) or "type" not in group or len(group) > FIELD_LIMIT:
            raise FileError(f"{where}: is not a layer (a group with a type and at most {FIELD_LIMIT} fields)")
        kind = self.text(group, "type", where)
        if kind not in KINDS:
            reason = NO_FORM.get(kind, "no kind of layer that lava-dl is known to write")
            raise UnsupportedError(f"{where} of type {kind!r}: {reason}")
        where = f"{where} ({kind})"
        shape = self.integers(group, "shape", where)
        if shape is not None and (shape.ndim != 1 or shape.size > 3 or shape.min() < 1 or shape.max() > 2**20):
            raise FileError(f"{where}: shape {shape.tolist()}, expected up to three sizes of 1 to {2**20}")
        return FileLayer(
            where,
            index,
            kind,
            () if shape is None else tuple(int(size) for size in shape),
            self.neuron(group, where),
            self.integers(group, "weight", where),
            self.integers(group, "weight_rec", where),
            self.integers(group, "bias", where),
            self.integers(group, "delay", where),
            # Where a pool has no stride it is its kernel; SLAYER always writes it.
            self.pair(group, "stride", where, (1, 1)),
            self.pair(group, "padding", where, (0, 0)),
            self.pair(group, "dilation", where, (1, 1)),
            self.number(group, "groups", where, 1),
        )

    def layers(self, file: h5py.File) -> Iterator[FileLayer]:
        """Yield the layers in order."""
        group = self.item(file, "layer", self.source)
        if not isinstance(group, h5py.Group) or not 1 <= len(group) <= LAYER_LIMIT:
            raise FileError(f"{self.source}: 'layer' is not a group of 1 to {LAYER_LIMIT} layers")
        for index in range(len(group)):
            if str(index) not in group:
                raise FileError(f"{self.source}: layer {index} is missing; they are numbered from 0")
            yield self.layer(self.item(group, str(index), self.source), index)

    def steps(self, file: h5py.File) -> int | None:
        """Return the time steps of a sample, where the file says them."""
        if "simulation" not in file:
            return None
        group = self.item(file, "simulation", self.source)
        if not isinstance(group, h5py.Group) or "tSample" not in group:
            return None
        return self.number(group, "tSample", f"{self.source}: simulation")


def read_layers(path: Path) -> tuple[list[FileLayer], int | None]:
    """Return the layers of a ``.net`` file of any origin, and the time steps of a sample where the file says them.

    Nothing outside the file is opened, and no more than 1 GiB is unpacked.

    Raises:
        FileError: missing, damaged, no such file, or impossibly large; the place in it is named.
        UnsupportedError: a layer has no form here; it is named with the reason.
    """
    with opened(path, ".net file of lava-dl", "layer") as file:
        reader = _Fields(str(path))
        return list(reader.layers(file)), reader.steps(file)
