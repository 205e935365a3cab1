"""NIR files and graphs of other frameworks taken over as networks, with the proof by execution."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...toolkit.adopt import Adopted
from ...toolkit.adopt.adopt import TIES, Proof, why_not
from ...toolkit.coding import Coder
from ...toolkit.errors import DisagreementError, InputError, UnsupportedError
from ...toolkit.network.network import SpikingNetwork
from .dynamics import Settings, settings_of
from .execute import run_graph
from .graph import Graph, flatten
from .network import GAIN, from_nir, image_shape, translated
from .nodes import SPIKING
from .read import read_graph

ORIGINS_TIES = 3e-3
"""Share of an origin's own output that may differ: it computes in float32 mostly, and one tie leads to others."""


@dataclass(frozen=True)
class Taken:
    """A graph that can become a network.

    Attributes:
        graph: flat.
        settings: what it leaves open.
        where: its file, for messages.
    """

    graph: Graph
    settings: Settings
    where: str


def _taken(
    source: Path | str | nir.NIRGraph,
    settings: Settings | str,
    dt: float | None,
    reset: str | None,
    one_spike: bool,
    unscaled: bool,
    start: str | None,
    port: str | None,
) -> Taken:
    where = "graph" if isinstance(source, nir.NIRGraph) else str(source)
    graph = flatten(source if isinstance(source, nir.NIRGraph) else read_graph(Path(source)), where, port)
    resets = any(isinstance(node, nir.IF | nir.LIF | nir.CubaLIF) for node in graph.nodes.values())
    if settings == "snntorch" and reset is None and resets:
        raise UnsupportedError(
            f"{where}: snnTorch writes 'zero', 'subtract' and 'none' alike as v_reset = 0; say how the network was "
            "trained: reset = 'zero', 'subtract_later' (its 'subtract'), 'none', or 'zero_later' (docs/nir.md)"
        )
    if isinstance(settings, str):
        settings = settings_of(settings, dt, reset, one_spike=one_spike, unscaled=unscaled, start=start)
    elif dt is not None or reset is not None or one_spike or unscaled or start is not None:
        raise InputError("settings say all of dt, reset, one_spike, unscaled and start; change them there")
    shape = graph.shapes[next(reversed(graph.nodes))]
    if len(shape) != 1:
        raise UnsupportedError(f"{where}: its output has shape {shape}, expected (classes,); flatten before it")
    return Taken(graph, settings, where)


def _network(taken: Taken, coder: Coder | int, gain: float) -> SpikingNetwork:
    try:
        return from_nir(taken.graph, taken.settings, coder, gain=gain)
    except UnsupportedError as error:
        raise UnsupportedError(f"{taken.where}: {error}") from error


def adopt_nir(
    source: Path | str | nir.NIRGraph,
    coder: Coder | int,
    settings: Settings | str = "nir",
    *,
    dt: float | None = None,
    reset: str | None = None,
    one_spike: bool = False,
    unscaled: bool = False,
    start: str | None = None,
    port: str | None = None,
    gain: float = GAIN,
) -> tuple[SpikingNetwork, tuple[int, int, int]]:
    """Return the network of a NIR file or graph of any origin, and (channels, height, width) of its images.

    Args:
        source: the file, or the graph as ``nir.read`` gives it.
        coder: as of :func:`from_nir`.
        settings: the framework that wrote it (:data:`.dynamics.ORIGINS`), or all that a file leaves open.
        dt: seconds a time step, if not the framework's own.
        reset: what a spike does, if not as the framework has it; snnTorch's files need to be told.
        one_spike: see :func:`.dynamics.settings_of`.
        unscaled: see :func:`.dynamics.settings_of`.
        start: where membranes start, see :class:`.dynamics.Settings`.
        port: the Output node that is read, where there are several.
        gain: scale of the logits.

    Raises:
        FileError: the file cannot be read.
        UnsupportedError: the graph cannot run, is not a classifier, or its reset must be told.
    """
    taken = _taken(source, settings, dt, reset, one_spike, unscaled, start, port)
    return _network(taken, coder, gain), image_shape(taken.graph)


def adopt_nir_proven(
    source: Path | str | nir.NIRGraph,
    sample: NDArray[Any] | Tensor,
    coder: Coder | int,
    settings: Settings | str = "nir",
    *,
    dt: float | None = None,
    reset: str | None = None,
    one_spike: bool = False,
    unscaled: bool = False,
    start: str | None = None,
    port: str | None = None,
    reference: NDArray[Any] | None = None,
    gain: float = GAIN,
) -> Adopted:
    """Return what :func:`adopt_nir` does, run on samples against the graph's equations in float64.

    The graph is executed in float64 and the network as it will be trained, in float32; every spike of every node is
    compared. Where the origin's own output is given, the execution is compared with it, too: only that shows that the
    graph was read as its origin meant it.

    Args:
        source: as of :func:`adopt_nir`.
        sample: (samples, ...), or sequences (samples, time, ...), in [0, 1], as the coder takes them or in the
            graph's own shape.
        coder: as of :func:`adopt_nir`.
        settings: as of :func:`adopt_nir`.
        dt: as of :func:`adopt_nir`.
        reset: as of :func:`adopt_nir`.
        one_spike: as of :func:`adopt_nir`.
        unscaled: as of :func:`adopt_nir`.
        start: as of :func:`adopt_nir`.
        port: as of :func:`adopt_nir`.
        reference: (time, samples, classes): what the origin's output sends for the sample as the coder encodes it.
        gain: as of :func:`adopt_nir`.

    Raises:
        FileError: the file cannot be read.
        InputError: the sample or the reference has another shape.
        UnsupportedError: as of :func:`adopt_nir`.
        DisagreementError: more spikes differ than ties explain; the first layer, step and neuron are named.
    """
    taken = _taken(source, settings, dt, reset, one_spike, unscaled, start, port)
    network, shape = _network(taken, coder, gain), image_shape(taken.graph)
    images = _images(sample, network.coder, shape)
    graph, output = taken.graph, next(reversed(taken.graph.nodes))
    with torch.no_grad():
        encoded = network.coder.encode(images)
        own = encoded.double().reshape(*encoded.shape[:2], *next(iter(graph.shapes.values())))
        exact = run_graph(graph, own, taken.settings, torch.float64)
        sent: dict[str, Tensor] = {}
        found = network.logits(network.respond(encoded, sent.__setitem__))
        meant = network.logits(exact[output])
    if reference is not None:
        _same(f"output {output!r}", exact[output], _given(reference, exact[output]), ORIGINS_TIES)
    names = translated(graph, taken.settings).names
    spikes, silent = {}, []
    for node in (name for name, kind in graph.nodes.items() if isinstance(kind, SPIKING)):
        layer, theirs = names[node], exact[node]
        differing = _same(f"layer {layer!r}", sent[layer].reshape(theirs.shape), theirs, TIES)
        spikes[layer] = differing, theirs.numel()
        if not bool(theirs.any()):
            silent.append(layer)
    gap, classes = float((found - meant).abs().max()), int((found.argmax(1) != meant.argmax(1)).sum())
    proof = Proof(len(images), "float32", spikes, gap, classes, tuple(silent))
    readout = f"{gain:g} times the {'last membrane' if network.membrane else 'mean over time'} of {network.readout!r}"
    return Adopted(network, shape, readout, {}, why_not(network), proof, images)


def _images(sample: NDArray[Any] | Tensor, coder: Coder, shape: tuple[int, int, int]) -> Tensor:
    """Return a sample as the coder takes it."""
    x = torch.as_tensor(np.asarray(sample), dtype=torch.float32)
    front = (len(x), coder.steps) if coder.sequences else (len(x),)
    size = int(np.prod([*front, *coder.image_shape(shape)]))
    if not len(x) or x.numel() != size or tuple(x.shape[: len(front)]) != front:
        expected = f"({', '.join(map(str, ('samples', *front[1:], *coder.image_shape(shape))))})"
        raise InputError(f"sample of shape {tuple(x.shape)}, expected {expected}")
    return x.reshape(*front, *coder.image_shape(shape))


def _given(reference: NDArray[Any], output: Tensor) -> Tensor:
    if reference.shape != tuple(output.shape):
        expected = f"{tuple(output.shape)} (time, samples, classes)"
        raise InputError(f"reference of shape {reference.shape}, expected {expected}")
    return torch.from_numpy(np.asarray(reference, dtype=np.float64))


def _same(where: str, found: Tensor, expected: Tensor, ties: float) -> int:
    """Return how many values differ: spikes, or membranes by more than rounding.

    Raises:
        DisagreementError: a larger share than ``ties``; with the first.
    """
    wrong = ~torch.isclose(found.double(), expected, rtol=1e-4, atol=1e-4)
    count = int(wrong.sum())
    if count > ties * wrong.numel():
        step, sample, *neuron = (int(part) for part in wrong.nonzero()[0])
        raise DisagreementError(
            f"{where}: {count} of {wrong.numel()} values differ, first at step {step}, neuron {tuple(neuron)} of "
            f"sample {sample}; check origin, time step and reset"
        )
    return count
