"""The bits that a Program's weights, biases, thresholds and decays are stored in, and the Program with some flipped."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...export.program import Graded, Population, Program, SigmaDelta, Synapse
from ...toolkit.errors import InputError

Kind = Literal["weight", "bias", "vth", "du", "dv"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WIDTH: dict[Kind, int] = {"bias": 13, "vth": 17, "du": 12, "dv": 12}
"""Bits of one word; of a weight it is the synapse's ``bits``."""
Addresses = NDArray[np.int64]
"""Bits by number: field after field, word after word, from the least significant bit up."""


@dataclass(frozen=True)
class StoredField:
    """One array as it is stored.

    A weight of mixed signs is w = q 2^(9 - bits), q in two's complement; one of a single sign w = +-q 2^(8 - bits), q
    without sign. A bias is a mantissa in two's complement; threshold and decays have no sign.

    Attributes:
        kind: what it holds.
        layer: the population that it belongs to; of a weight, the one that the synapse ends in.
        label: names it in messages.
        bits: of a word.
        words: how many.
        part: place of the synapse, or of the population, in the Program.
        first: address of its first bit.
        signed: whether the highest bit counts negative.
        unit: what the lowest bit is worth.
    """

    kind: Kind
    layer: str
    label: str
    bits: int
    words: int
    part: int
    first: int
    signed: bool
    unit: int

    def worth(self, bit: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what each of these bits adds to the integer where it is set."""
        sign = np.where(self.signed & (bit == self.bits - 1), -1, 1)
        return np.asarray(sign * (np.int64(self.unit) << bit), dtype=np.int64)

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the words that stand for integers: the bits that are set."""
        return np.asarray(np.asarray(values, dtype=np.int64) // self.unit & (2**self.bits - 1))


class Memory:
    """All stored bits of a Program.

    Kernels of convolutions are stored once, a bias once a neuron, thresholds and decays once a population. A word may
    hold any pattern of its bits, so every flip gives a Program. Not modelled: state, exponents, delays, sign modes,
    indices of sparse synapses, and what :attr:`left_out` names.

    Args:
        program: whose.

    Attributes:
        fields: in the order of their addresses.
        left_out: what is not modelled although the Program has it, and why.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.left_out: list[str] = []
        self.fields: list[StoredField] = []
        for place, population in enumerate(program.populations):
            for number, synapse in enumerate(program.synapses):
                if synapse.target == population.name:
                    self._add_weights(number, synapse, isinstance(population, Graded))
            own = f"of population {population.name!r}"
            if isinstance(population, Population):
                self._add_neurons(place, population, own)
            if isinstance(population, SigmaDelta):
                held = "biases and threshold; how a core keeps those of sigma-delta neurons is not public"
                self.left_out.append(f"population {population.name!r}: {held}")
            else:
                self._add("vth", population.name, f"threshold {own}", 1, place)

    def _add(
        self,
        kind: Kind,
        layer: str,
        label: str,
        words: int,
        part: int,
        bits: int = 0,
        signed: bool = False,
        unit: int = 1,
    ) -> None:
        bits = bits or WIDTH[kind]
        self.fields.append(StoredField(kind, layer, label, bits, words, part, self.bits, signed, unit))

    def _add_weights(self, number: int, synapse: Synapse, graded: bool) -> None:
        if graded:
            self.left_out.append(
                f"{synapse.label}: weights; what a sum too wide for its graded message is, is not defined"
            )
            return
        mixed = synapse.sign == "mixed"
        unit = 2 ** (9 - synapse.bits if mixed else 8 - synapse.bits)
        unit = -unit if synapse.sign == "inhibitory" else unit
        size = synapse.weight.size
        self._add("weight", synapse.target, synapse.label, size, number, synapse.bits, mixed, unit)

    def _add_neurons(self, place: int, population: Population, own: str) -> None:
        if population.input_bias:
            self.left_out.append(f"population {population.name!r}: biases; the host writes them anew at every step")
        else:
            self._add("bias", population.name, f"bias {own}", population.bias.size, place, signed=True)
        for kind, low, high in (("du", 0, 4095), ("dv", 0, 4095)):
            value = getattr(population, kind)
            if low <= value <= high:
                self._add("du" if kind == "du" else "dv", population.name, f"{kind} {own}", 1, place)
            else:
                self.left_out.append(f"population {population.name!r}: {kind} = {value} does not fit its 12 bits")

    @property
    def bits(self) -> int:
        """How many bits there are."""
        return self.fields[-1].first + self.fields[-1].words * self.fields[-1].bits if self.fields else 0

    def select(self, layer: str | None = None, kind: str | None = None, bit: int | None = None) -> Addresses:
        """Return the addresses of the bits of a layer, of a kind of field, at a position in the word; of all if None.

        Raises:
            InputError: there is no such layer, field or bit.
        """
        layers = list(dict.fromkeys(field.layer for field in self.fields))
        if layer is not None and layer not in layers:
            raise InputError(f"--layer {layer}: no stored bits there; choose {', '.join(layers)}")
        if kind is not None and kind not in KINDS:
            raise InputError(f"--field {kind}: unknown; choose {', '.join(KINDS)}")
        found = [
            field.first + np.arange(field.words)[:, None] * field.bits + position
            for field in self.fields
            if layer in (None, field.layer) and kind in (None, field.kind)
            for position in [np.arange(field.bits) if bit is None else np.array([bit])]
            if bit is None or 0 <= bit < field.bits
        ]
        if not found:
            raise InputError(f"--layer {layer} --field {kind} --bit {bit}: no such bits are stored")
        return np.concatenate([part.ravel() for part in found]).astype(np.int64)

    def place(self, address: int) -> tuple[StoredField, int, int]:
        """Return field, word and position of a bit."""
        firsts = [field.first for field in self.fields]
        field = self.fields[int(np.searchsorted(firsts, address, side="right")) - 1]
        word, bit = divmod(int(address) - field.first, field.bits)
        return field, word, bit

    def values(self, field: StoredField) -> NDArray[np.int64]:
        """Return the integers of a field, (words,)."""
        if field.kind == "weight":
            return np.asarray(self.program.synapses[field.part].weight, dtype=np.int64).ravel()
        found = getattr(self.program.populations[field.part], field.kind)
        return np.asarray(found, dtype=np.int64).reshape(-1)

    def flipped(self, addresses: Iterable[int] | Addresses) -> Program:
        """Return the Program with these bits flipped; a bit that is named twice is flipped back.

        Parts that no flip touches are shared with the Program; nothing is checked again, as every word may hold any
        pattern.
        """
        places = np.sort(np.fromiter(addresses, dtype=np.int64))
        synapses, populations = list(self.program.synapses), list(self.program.populations)
        for field in self.fields:
            end = field.first + field.words * field.bits
            here = places[np.searchsorted(places, field.first) : np.searchsorted(places, end)] - field.first
            if not len(here):
                continue
            values = self.values(field)
            mask = np.zeros(field.words, dtype=np.int64)
            np.bitwise_xor.at(mask, here // field.bits, np.int64(1) << here % field.bits)
            values = self._integers(field, field.codes(values) ^ mask)
            if field.kind == "weight":
                shape = synapses[field.part].weight.shape
                synapses[field.part] = _changed(synapses[field.part], "weight", _stored(values, shape))
            else:
                neurons = populations[field.part]
                new = _stored(values, neurons.shape) if field.kind == "bias" else int(values[0])
                populations[field.part] = _changed(neurons, field.kind, new)
        return self.program.model_copy(update={"synapses": tuple(synapses), "populations": tuple(populations)})

    @staticmethod
    def _integers(field: StoredField, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        return (codes - ((codes >> (field.bits - 1)) << field.bits if field.signed else 0)) * field.unit


def _stored(values: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int32]:
    array = values.reshape(shape).astype(np.int32)
    array.flags.writeable = False
    return array


def _changed(part: Any, name: str, value: Any) -> Any:
    return part.model_copy(update={name: value})
