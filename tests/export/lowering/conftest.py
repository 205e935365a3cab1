"""Small graphs, their Programs' spikes by node, and the equations in NumPy."""

import math
from itertools import pairwise
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from spikeproof.export.lowering.lower import Deployment, Lowered, lower_parts
from spikeproof.export.nir.dynamics import Settings
from spikeproof.export.nir.graph import Graph
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.target import Trace

DT = 1e-4
STEPS, BATCH = 12, 30
Raster = NDArray[np.bool_]


def spikes(*shape: int, seed: int = 3) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(0, 2, (STEPS, BATCH, *shape)).astype(np.int32)


def chain(shape: tuple[int, ...], *nodes: Any, outputs: int = 3) -> nir.NIRGraph:
    ends = {"input": nir.Input({"input": np.array(shape)}), **{f"n{i}": node for i, node in enumerate(nodes)}}
    ends["output"] = nir.Output({"output": np.array([outputs])})
    return nir.NIRGraph(ends, list(pairwise(ends)), type_check=False)


def lif(*shape: int, **changes: Any) -> nir.LIF:
    values = {"tau": 2 * DT, "r": 2.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | changes
    return nir.LIF(**{name: np.broadcast_to(np.asarray(value, dtype=float), shape) for name, value in values.items()})


def fired(lowered: Lowered, trace: Trace, node: str) -> Raster:
    """Return a node's spikes (time, batch, neurons), from the populations that it became."""
    parts = lowered.parts[node]
    size = sum(math.prod(part.shape) for part in parts)
    found = np.zeros((STEPS, trace.output.shape[0], size), dtype=bool)
    for part in parts:
        raster = trace.rasters[part.name].spikes.reshape(STEPS, -1, math.prod(part.shape)) != 0
        found[:, :, slice(None) if part.members is None else part.members] = raster
    return found


def agree(found: Raster, expected: Raster, share: float = 2e-3) -> None:
    """Compare but for ties: decays cut membranes to 1/64 of a unit, so that one at its threshold may stay below it."""
    assert (found != expected).mean() < share


def run(graph: Graph, x: NDArray[np.int32], how: Settings, **options: Any) -> tuple[Lowered, Trace]:
    lowered = lower_parts(graph, Deployment(STEPS, 0, how, **options))
    given = x.reshape(*x.shape[:2], *lowered.program.input.shape)
    return lowered, LoihiTarget().compile(lowered.program).run(given, rasters=True)


def stepped(
    x: NDArray[Any], keep: Any, gain: Any, leak: Any, threshold: Any, reset: Any, start: Any, current: Any = None
) -> Raster:
    """Fire by v <- keep v + (1 - keep) leak + gain i, i <- current i + x: float64, one step after the other."""
    v, i, out = np.broadcast_to(np.asarray(start, dtype=float), x.shape[1:]), np.zeros(x.shape[1:]), []
    for now in x:
        i = now if current is None else current * i + now
        v = keep * v + (1 - keep) * leak + gain * i
        out.append(v > threshold)
        v = np.where(out[-1], reset, v)
    return np.array(out)
