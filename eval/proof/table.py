"""Neurons whose input is the same at every step: which train they fire is a step function of one integer.

Along one history a voltage rises with that integer, so each history holds on an interval of it. The intervals of all
trains are found exactly, by bisection in the chip's arithmetic.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layers import Int, Layer, kept
from .trains import STEPS, Trains


@dataclass(frozen=True)
class Table:
    """Trains of a layer by what arrives.

    Attributes:
        groups: (neurons,), which bias each neuron has.
        owner: (entries,), of which bias an entry is; entries of one bias rise.
        low: (entries,), the least integer that leads to its train.
        high: the largest.
        fired: (entries, time), the train.
    """

    groups: Int
    owner: Int
    low: Int
    high: Int
    fired: NDArray[np.bool_]

    def sets(self, low: Int, high: Int) -> Trains:
        """Return the trains that neurons may fire for integers from ``low`` to ``high``, (neurons,) each."""
        steps = self.fired.shape[1]
        # Trains a neuron: small tables, so all entries are compared with all neurons.
        hit = self.owner == self.groups[:, None]
        hit &= (self.low <= high[:, None]) & (self.high >= low[:, None])
        if steps > STEPS:
            some, none = hit @ self.fired, hit @ ~self.fired
            return Trains((some & ~none).T.astype(np.int64), some.T.astype(np.int64))
        numbers = self.fired @ (1 << np.arange(steps))
        mask = np.zeros((len(hit), 2**steps), dtype=bool)
        neurons, entries = np.nonzero(hit)
        mask[neurons, numbers[entries]] = True
        return Trains.of_mask(mask, steps)

    def entries(self, neuron: int, low: int, high: int) -> list[tuple[int, NDArray[np.bool_]]]:
        """Return where each train of a neuron starts between two integers, with the train; the first is at ``low``."""
        hit = (self.owner == self.groups[neuron]) & (self.low <= high) & (self.high >= low)
        order = np.flatnonzero(hit)[np.argsort(self.low[hit])]
        return [(max(int(self.low[entry]), low), self.fired[entry]) for entry in order]


def table_of(layer: Layer, low: int, high: int) -> Table:
    """Return the table of a layer for integers from ``low`` to ``high``.

    Args:
        layer: with one wire, from the input, or with bias-coded input alone.
        low: least of what arrives at any neuron: messages, if the input is bias-coded.
        high: largest.
    """
    biases, groups = np.unique(layer.bias, return_inverse=True)
    owner = np.arange(len(biases))
    bottom, top = np.full(len(biases), low), np.full(len(biases), high)
    fired = np.zeros((len(biases), 0), dtype=bool)
    for _ in range(layer.steps):
        # The least integer at which the next step is a spike; one above top if there is none.
        left, right = bottom.copy(), top + 1
        while (left < right).any():
            middle = (left + right) // 2
            over = _voltage(layer, middle, biases[owner], fired) > layer.threshold
            right = np.where(over, middle, right)
            left = np.where(over | (left >= right), left, middle + 1)
        silent, spiking = left > bottom, left <= top
        fired = np.concatenate(
            [np.pad(fired[silent], ((0, 0), (0, 1))), np.pad(fired[spiking], ((0, 0), (0, 1)), constant_values=True)]
        )
        owner = np.concatenate([owner[silent], owner[spiking]])
        bottom, top = (
            np.concatenate([bottom[silent], left[spiking]]),
            np.concatenate([np.minimum(left - 1, top)[silent], top[spiking]]),
        )
    return Table(groups.reshape(-1).astype(np.int64), owner, bottom, top, fired)


def _voltage(layer: Layer, value: Int, bias: Int, fired: NDArray[np.bool_]) -> Int:
    """Return the voltage, before a reset, at the step after the history ``fired`` (entries, steps)."""
    lag = layer.wires[0].lag if layer.wires else 0
    u = v = np.zeros_like(value)
    for t in range(fired.shape[1] + 1):
        if layer.wires:
            u = kept(u, layer.keep_u) + (64 * value if t >= lag else 0)
            v = kept(v, layer.keep_v) + u + bias
        else:
            v = kept(v, layer.keep_v) + bias + (value << (layer.drive or 0))
        if t < fired.shape[1]:
            v = np.where(fired[:, t], 0, v)
    return v
