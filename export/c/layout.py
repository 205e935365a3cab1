"""What lies where in the C file: messages with their history, and weights in the order in which spikes meet them.

Inside, populations of shape (channels, height, width) lie with their channels side by side, so that the weights of a
spike and the sums that they are added to are both read in one piece.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..program import Convolution, Dense, Graded, Population, Program, Sparse, Synapse

WORD = 32
"""Spikes in a word."""


def width_of(peak: int, signed: bool = False) -> str:
    """Return the C type of numbers up to ``peak``."""
    if signed:
        return "int8_t" if peak < 2**7 else "int16_t" if peak < 2**15 else "int32_t"
    return "uint8_t" if peak < 2**8 else "uint16_t" if peak < 2**16 else "int32_t"


def bytes_of(kind: str) -> int:
    """Return the bytes of a C type of :func:`width_of`, or of ``uint32_t``."""
    return int(kind.strip("uint_")) // 8


@dataclass(frozen=True)
class Node:
    """The input or a population, and the messages of its last steps.

    Attributes:
        name: in the Program.
        c: in the C file.
        shape: in the Program.
        kind: C type of a message; ``uint32_t`` are words of 32 spikes.
        history: steps that are kept, the present one included.
    """

    name: str
    c: str
    shape: tuple[int, ...]
    kind: str
    history: int

    @property
    def bits(self) -> bool:
        """Whether messages are spikes, 32 in a word."""
        return self.kind == "uint32_t"

    @property
    def size(self) -> int:
        """Neurons."""
        return int(np.prod(self.shape))

    @property
    def length(self) -> int:
        """Numbers of a step."""
        return -(-self.size // WORD) if self.bits else self.size

    @property
    def planes(self) -> tuple[int, int, int]:
        """(channels, height, width); neurons that are no map are channels of one pixel."""
        return (self.shape[0], self.shape[1], self.shape[2]) if len(self.shape) == 3 else (self.size, 1, 1)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Which neuron of the Program, flattened, lies at each place of the C file; (neurons,)."""
        return np.arange(self.size).reshape(self.planes).transpose(1, 2, 0).ravel()

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """The inverse of :attr:`order`."""
        return np.argsort(self.order)


def message_type(program: Program) -> np.dtype[np.integer]:
    """Return the type of ``snn_message``, as NumPy has it."""
    return np.dtype(width_of(program.input.peak).removesuffix("_t"))


def takes_input(program: Program) -> bool:
    """Return whether any population takes the input as its bias."""
    return any(part.input_bias for part in program.stateful)


def nodes(program: Program) -> dict[str, Node]:
    """Return the input and all populations by name, in the order of computation."""
    lags = {program.input.name: 0} | {part.name: 0 for part in program.populations}
    for synapse in wired(program):
        lags[synapse.source] = max(lags[synapse.source], program.lag(synapse))
    source = program.input
    binary = source.message_bits == 0 and not takes_input(program)
    kind = "uint32_t" if binary else width_of(source.peak)
    found = {source.name: Node(source.name, "in", source.shape, kind, lags[source.name] + 1)}
    for index, part in enumerate(program.populations):
        if isinstance(part, Population):
            kind = "uint32_t"
        else:
            kind = width_of(program.peak(part.name)) if isinstance(part, Graded) else "int32_t"
        found[part.name] = Node(part.name, f"p{index}", part.shape, kind, lags[part.name] + 1)
    return found


def wired(program: Program) -> list[Synapse]:
    """Return the synapses that deliver anything: a weight that is not 0, before the last step."""
    return [one for one in program.synapses if one.weight.any() and program.lag(one) < program.steps]


@dataclass(frozen=True)
class Wire:
    """A synapse in C.

    A message x adds ``weight`` x 2^shift to the sums. Where ``floor`` or ``narrow`` say so these are sums of their own,
    from which what arrives is found; else what arrives is added up at once, modulo 2^32.

    Attributes:
        synapse: of the Program.
        c: its name.
        source: where messages come from.
        target: where they go.
        lag: steps late, in the window of the target.
        weight: source first: dense (source, target), sparse (synapses,), convolution (channel of the source, ky, kx,
            channel of the target in its group); as small as they can be stored.
        shift: bits that the weights lost in that.
        floor: bits by which the sum is shifted to the right, rounded toward minus infinity; 0 for none.
        narrow: whether the sum wraps at 24 bits.
        rows: target neuron of each weight of a sparse synapse.
        starts: where the weights of each source neuron begin, and the end of the last.
    """

    synapse: Synapse
    c: str
    source: Node
    target: Node
    lag: int
    weight: NDArray[np.int32]
    shift: int
    floor: int
    narrow: bool
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def apart(self) -> bool:
        """Whether it needs sums of its own."""
        return bool(self.floor) or self.narrow

    @property
    def kind(self) -> str:
        """C type of a weight."""
        return width_of(max(int(self.weight.max()), -int(self.weight.min()) - 1), signed=True)


def _stored(
    synapse: Synapse, source: Node, target: Node
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Return weight, rows and starts of :class:`Wire`."""
    none = np.zeros(0, dtype=np.int64)
    if isinstance(synapse, Dense):
        return np.ascontiguousarray(synapse.weight[target.order][:, source.order].T), none, none
    if isinstance(synapse, Convolution):
        out, per_group, *kernel = synapse.weight.shape
        groups = synapse.weight.reshape(synapse.groups, out // synapse.groups, per_group, *kernel)
        return (
            np.ascontiguousarray(groups.transpose(0, 2, 3, 4, 1)).reshape(-1, *kernel, out // synapse.groups),
            none,
            none,
        )
    assert isinstance(synapse, Sparse)
    kept = synapse.weight != 0
    columns, rows = source.place[synapse.columns[kept]], target.place[synapse.rows[kept]]
    order = np.lexsort((rows, columns))
    starts = np.concatenate([[0], np.bincount(columns, minlength=source.size).cumsum()])
    return synapse.weight[kept][order], rows[order], starts


def wires(program: Program, at: dict[str, Node]) -> list[Wire]:
    """Return the synapses that deliver anything, ready to be written."""
    found = []
    for index, synapse in enumerate(wired(program)):
        source, target = at[synapse.source], at[synapse.target]
        weight, rows, starts = _stored(synapse, source, target)
        any_bit = int(np.bitwise_or.reduce(weight, axis=None))
        shift = (any_bit & -any_bit).bit_length() - 1
        exponent, bound = synapse.exponent, program.bound(synapse)
        narrow = isinstance(synapse, Convolution) and exponent == 0 and bound >= 2**23
        floor = 0
        if exponent >= 0:
            total = shift + exponent
        elif shift + exponent >= 0 and bound < 2**31:
            total = shift + exponent  # all weights are multiples: nothing is rounded
        else:
            total, floor = shift, -exponent
        wire = Wire(
            synapse,
            f"s{index}",
            source,
            target,
            program.lag(synapse),
            weight >> shift,
            total,
            floor,
            narrow,
            rows,
            starts,
        )
        found.append(wire)
    return found
