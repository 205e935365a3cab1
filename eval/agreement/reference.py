"""What a graph's origin itself gave out, beside what is read here: the only proof that a reading is the origin's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.nir.graph import Graph
from ...toolkit.data.archive import read_npz_all
from ...toolkit.errors import InputError
from ..records.foreign import OfOrigin

TOLERANCE = 1e-4
"""Of values that are no spikes, as a share of the largest: float32 sums in another order."""


class Reference:
    """The origin's own outputs, compared batch by batch.

    Args:
        path: an ``.npz`` whose arrays are called as nodes of the graph, each (time, samples, ...): spikes, or real
            values. ``output`` is what the graph's output node receives.
        graph: that was read.
        steps: a sample.
        samples: how many are run; the file may hold more.

    Raises:
        FileError: it cannot be read.
        InputError: a name is no node, or a shape does not fit.
    """

    def __init__(self, path: Path, graph: Graph, steps: int, samples: int) -> None:
        self.given: dict[str, NDArray[Any]] = {}
        last = list(graph.nodes)[-1]
        for name, array in read_npz_all(path).items():
            node = last if name == "output" and name not in graph.nodes else name
            if node not in graph.nodes:
                names = ", ".join(["output", *(one for one in graph.nodes if one != "output")])
                raise InputError(f"{path}: {name}: no node of that name; the graph has {names}")
            shape = graph.shapes[node]
            if array.shape[:1] != (steps,) or array.shape[2:] != shape or array.shape[1] < samples:
                raise InputError(
                    f"{path}: {name}: shape {array.shape}, expected (time, samples, ...) = {(steps, samples, *shape)}"
                )
            if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
                raise InputError(f"{path}: {name}: values of type {array.dtype}, expected numbers without NaN")
            self.given[node] = array[:, :samples]
        self.compared = dict.fromkeys(self.given, 0)
        self.different = dict.fromkeys(self.given, 0)
        self.first: dict[str, tuple[int, ...] | None] = dict.fromkeys(self.given)
        # Of the whole file: how large a value is must not depend on the batch that it is compared in.
        self.allowed = {
            name: 0.0 if np.isin(array, (0, 1)).all() else TOLERANCE * float(np.abs(array).max())
            for name, array in self.given.items()
        }

    def add(self, sent: Mapping[str, NDArray[Any]], start: int) -> None:
        """Compare what nodes sent, (time, batch, ...), for the samples from ``start`` on."""
        for node, array in self.given.items():
            here = np.asarray(sent[node])
            origin = array[:, start : start + here.shape[1]]
            wrong = np.abs(here.reshape(origin.shape).astype(np.float64) - origin) > self.allowed[node]
            self.compared[node] += wrong.size
            self.different[node] += int(wrong.sum())
            if wrong.any() and self.first[node] is None:
                step, sample, *neuron = (int(index) for index in np.argwhere(wrong)[0])
                self.first[node] = (step, start + sample, *neuron)

    def found(self) -> tuple[OfOrigin, ...]:
        """Return what differs, a node."""
        return tuple(
            OfOrigin(node=node, compared=self.compared[node], different=self.different[node], first=self.first[node])
            for node in self.given
        )
