"""Small NIR graphs, each with one form that files of others have: what the lowering makes of it, on every target."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from ...export.lowering.lower import Deployment, lower_graph
from ...export.nir.dynamics import Settings
from ...export.nir.graph import Graph, flatten
from ...export.program import Program
from ...toolkit.errors import UnsupportedError
from .asked import Answer, everywhere

DT = 1e-4
STEPS = 12
SETTINGS = Settings(DT, start="v_reset")


def _weight(*shape: int, bias: float = 0.25) -> NDArray[np.float64]:
    """Return eighths, more of them above 0, so that neurons fire."""
    return np.random.default_rng(int(np.prod(shape))).integers(-5, 9, shape) / 8 + bias


def _lif(*shape: int, **changes: Any) -> nir.LIF:
    """Return LIF with v <- v / 2 + i and threshold 1, changed."""
    values = {"tau": 2 * DT, "r": 2.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | changes
    return nir.LIF(**{name: np.broadcast_to(np.asarray(value, dtype=float), shape) for name, value in values.items()})


def _cuba(*shape: int, **changes: Any) -> nir.CubaLIF:
    """Return CubaLIF with i <- i / 2 + x, v <- v / 2 + i."""
    values = {"tau_syn": 2 * DT, "tau_mem": 2 * DT, "r": 2.0, "v_leak": 0.0, "v_threshold": 2.0, "v_reset": 0.0}
    values |= {"w_in": 2.0} | changes
    return nir.CubaLIF(**{name: np.full(shape, value) for name, value in values.items()})


def _chain(shape: tuple[int, ...], **nodes: nir.NIRNode) -> nir.NIRGraph:
    ends = {"input": nir.Input({"input": np.array(shape)}), **nodes, "output": nir.Output({"output": np.array([3])})}
    return nir.NIRGraph(ends, list(pairwise(ends)), type_check=False)


def _last(columns: int) -> dict[str, nir.NIRNode]:
    return {"fc": nir.Linear(_weight(3, columns)), "last": _lif(3)}


def _split() -> nir.NIRGraph:
    uneven = _lif(6, tau=np.array([2.0, 4.0, 2.0, 4.0, 2.0, 2.0]) * DT, v_threshold=[1, 1, 1.5, 1, 1, 1])
    return _chain((5,), enter=nir.Affine(_weight(6, 5), _weight(6)), cells=uneven, **_last(6))


def _split_loop() -> nir.NIRGraph:
    graph = _split()
    graph.nodes["back"] = nir.Linear(_weight(6, 6, bias=-0.5))
    graph.edges += [("cells", "back"), ("back", "cells")]
    return graph


def _split_channels() -> nir.NIRGraph:
    cells = _lif(3, 4, 4, v_threshold=np.array([1.0, 1.5, 1.0]).reshape(3, 1, 1))
    conv = nir.Conv2d(None, _weight(3, 1, 3, 3), 1, 1, 1, 1, np.zeros(3))
    second = nir.Conv2d(None, _weight(2, 3, 3, 3, bias=-0.125), 1, 0, 1, 1, np.zeros(2))
    flat = nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1)
    return _chain((1, 4, 4), enter=conv, cells=cells, second=second, more=_lif(2, 2, 2), flat=flat, **_last(8))


def _lines() -> nir.NIRGraph:
    first = nir.Conv1d(None, _weight(4, 2, 3), 2, 1, 1, 1, _weight(4))
    second = nir.Conv1d(None, _weight(4, 2, 2, bias=0.0), 1, 0, 2, 2, np.zeros(4))
    flat = nir.Flatten({"input": np.array([4, 3])}, 0, -1)
    return _chain((2, 10), one=first, cells=_lif(4, 5), two=second, more=_lif(4, 3), flat=flat, **_last(12))


def _line_pool() -> nir.NIRGraph:
    pool = nir.SumPool2d(np.array([1, 2]), np.array([1, 2]), np.array([0, 0]))
    conv, flat = nir.Conv1d(None, _weight(3, 2, 3), 1, 1, 1, 1, np.zeros(3)), nir.Flatten({"input": None}, 0, -1)
    return _chain((2, 8), one=conv, cells=_lif(3, 8), pool=pool, flat=flat, **_last(12))


def _rows() -> nir.NIRGraph:
    flat = nir.Flatten({"input": np.array([4, 3])}, 0, -1)
    return _chain((4, 5), one=nir.Affine(_weight(3, 5), _weight(3)), cells=_lif(4, 3), flat=flat, **_last(12))


def _scaled() -> nir.NIRGraph:
    before, after = nir.Scale(np.array([1, 2, 0.5, 1, -1.0])), nir.Scale(np.array([0.5, 1, 1, 2.0]))
    return _chain(
        (5,), before=before, enter=nir.Affine(_weight(4, 5), _weight(4)), after=after, cells=_lif(4), **_last(4)
    )


def _counted() -> nir.NIRGraph:
    return _chain((1, 5), enter=nir.Linear(_weight(4, 5)), cells=_lif(1, 4), **_last(4))


def _implied() -> nir.NIRGraph:
    conv = nir.Conv2d(None, _weight(2, 1, 3, 3), 1, 0, 1, 1, np.zeros(2))
    return _chain((1, 4, 4), conv=conv, cells=_lif(2, 2, 2), flat=nir.Flatten({"input": None}, 1, -1), **_last(8))


def _biased() -> nir.NIRGraph:
    cells = _cuba(4)
    graph = _chain(
        (5,), enter=nir.Affine(_weight(4, 5), _weight(4)), cells=cells, fc=nir.Affine(_weight(3, 4), _weight(3))
    )
    graph.nodes["last"] = _cuba(3)
    graph.edges = [*graph.edges[:-1], ("fc", "last"), ("last", "output")]
    return graph


def _two_inputs() -> nir.NIRGraph:
    graph = _chain((5,), enter=nir.Linear(_weight(4, 5)), cells=_lif(4), **_last(4))
    graph.nodes |= {"picture": nir.Input({"input": np.array([1, 3, 3])}), "flat": nir.Flatten({"input": None}, 0, -1)}
    graph.nodes["conv"] = nir.Conv2d(None, _weight(1, 1, 2, 2), 1, 0, 1, 1, np.zeros(1))
    graph.edges += [("picture", "conv"), ("conv", "flat"), ("flat", "cells")]
    return graph


def _two_outputs() -> nir.NIRGraph:
    graph = _chain((5,), enter=nir.Linear(_weight(4, 5)), cells=_lif(4), **_last(4))
    graph.nodes |= {"aside": nir.Linear(_weight(2, 4)), "other": nir.Output({"output": np.array([2])})}
    graph.edges += [("cells", "aside"), ("aside", "other")]
    return graph


GRAPHS: dict[str, Callable[[], nir.NIRGraph]] = {
    "v_leak and v_reset other than 0": lambda: _chain(
        (5,), enter=nir.Linear(_weight(4, 5)), cells=_lif(4, v_leak=-0.5, v_reset=-0.5, v_threshold=0.5), **_last(4)
    ),
    "rest above the reset, membranes start at the reset": lambda: _chain(
        (5,), enter=nir.Linear(_weight(4, 5)), cells=_lif(4, v_leak=0.5, v_reset=-0.5), **_last(4)
    ),
    "parameters a neuron": _split,
    "parameters a neuron, in a loop": _split_loop,
    "parameters a neuron in the last layer": lambda: _chain(
        (5,), enter=nir.Linear(_weight(4, 5, bias=0.5)), cells=_lif(4, v_threshold=[1.0, 1.5, 1, 1.25])
    ),
    "parameters a channel, between convolutions": _split_channels,
    "1-D convolutions, stride, dilation, groups": _lines,
    "pool of height 1 on (channels, length)": _line_pool,
    "linear on (time, features)": _rows,
    "Scale before and after weights": _scaled,
    "batch axis of 1 that is counted": _counted,
    "Flatten that an edge implies": _implied,
    "bias through a synaptic current": _biased,
    "input without weights into a current": lambda: _chain((4,), cells=_cuba(4, v_threshold=1.5), **_last(4)),
    "8-bit weights of one sign on their grid": lambda: _chain(
        (5,), enter=nir.Linear((np.arange(20).reshape(4, 5) * 13 + 8) / 256), cells=_lif(4), **_last(4)
    ),
    "two inputs": _two_inputs,
    "two outputs, one chosen": _two_outputs,
}


def flat(construct: str) -> Graph:
    """Return the graph of a construct, ready to run with :data:`SETTINGS`."""
    return flatten(GRAPHS[construct](), "file", "output")


def program(construct: str) -> Program:
    """Return its Program of binary spikes."""
    return lower_graph(flat(construct), Deployment(STEPS, 0, SETTINGS))


def files() -> list[Answer]:
    """Return for every construct of a NIR file where its Program runs, or why there is none."""
    found: list[Answer] = []
    for construct in GRAPHS:
        try:
            found += everywhere(construct, program(construct))
        except UnsupportedError as error:
            found.append(Answer(construct, "lowering", str(error)))
    return found
