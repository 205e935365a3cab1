"""What the linter looks for in a flat NIR graph, one function a question; each yields findings (docs/nir.md)."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import nir
import numpy as np
from numpy.typing import NDArray

from ..program.parts import DELAY_MAX
from .dynamics import Settings
from .graph import Graph
from .grids import on_grid
from .nodes import PARAMETERS, SPIKING, Shape, batch_axes, declared_shape, geometry, weight_of

Severity = Literal["error", "warning", "note"]
LEAKY = (nir.LI, nir.LIF, nir.CubaLI, nir.CubaLIF)
TIMED = (nir.I, nir.IF, *LEAKY, nir.Delay)
"""Nodes that mean nothing without a time step."""


@dataclass(frozen=True)
class Finding:
    """Something to know about a file.

    Attributes:
        severity: ``error``: cannot be deployed; ``warning``: runs, but may mean something else elsewhere; ``note``.
        code: stable identifier of the kind of finding.
        node: where, or None for the whole file.
        message: reason and remedy.
    """

    severity: Severity
    code: str
    node: str | None
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """What is looked at: the graph, and what is known of it beyond the file.

    Attributes:
        graph: flat.
        declared: shapes that the file itself states, (node, what, shape).
        nested: names of the sub-graphs.
        origin: the framework that wrote it, None if unknown.
        settings: None as long as neither origin nor time step is known.
        reset_told: whether the user said how the neurons reset.
    """

    graph: Graph
    declared: list[tuple[str, str, Shape]]
    nested: list[str]
    origin: str | None
    settings: Settings | None
    reset_told: bool = False


def _values(subject: Subject, name: str, what: str) -> NDArray[np.float64]:
    """Return a parameter as it stands in the file: one number may stand for millions of neurons."""
    value = getattr(subject.graph.nodes[name], what)
    return np.asarray(0.0 if value is None else value, dtype=np.float64)


def _kinds(subject: Subject, *kinds: type) -> Iterator[tuple[str, Any]]:
    return ((name, node) for name, node in subject.graph.nodes.items() if isinstance(node, kinds))


def _span(values: NDArray[np.float64]) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _many(values: NDArray[np.float64]) -> bool:
    return np.unique(values).size > 1


def time_step(subject: Subject) -> Iterator[Finding]:
    """Pitfall 6: the file does not say how long a step is."""
    timed = list(_kinds(subject, *TIMED))
    if timed and subject.settings is None:
        hints = {f"{dt:g}" for name, node in timed for dt in _implied(subject, name, node)}
        hint = f"; R of its neurons would fit a step of {', '.join(sorted(hints))} s" if 0 < len(hints) <= 3 else ""
        message = "needs a time step, which NIR does not hold: give --dt SECONDS or --origin FRAMEWORK" + hint
        yield Finding("error", "dt-missing", None, message)
    if subject.settings is None:
        return
    dt = subject.settings.dt
    for name, node in timed:
        if isinstance(node, LEAKY):
            for what in ("tau_mem", "tau_syn") if hasattr(node, "tau_mem") else ("tau",):
                yield from _leak(subject, name, what, dt)
        for implied in _implied(subject, name, node):
            if subject.origin != "nir" and abs(implied / dt - 1) > 1e-3:
                message = (
                    f"R = {_span(_values(subject, name, 'r'))} is what exporters write at a step of {implied:g} s, "
                    f"not {dt:g} s; check the time step"
                )
                yield Finding("warning", "dt-other", name, message)
    for name, _ in _kinds(subject, nir.Delay):
        real = _values(subject, name, "delay") / dt
        if np.abs(real - np.rint(real)).max() > 1e-3 or real.min() < -1e-3:
            message = (
                f"delays of {_span(real)} steps of {dt:g} s; must be whole steps: give the time step of the origin"
            )
            yield Finding("error", "delay-fraction", name, message)
        elif real.max() > DELAY_MAX:
            yield Finding("error", "delay-long", name, f"delays of {_span(real)} steps; Loihi has at most {DELAY_MAX}")


def _leak(subject: Subject, name: str, what: str, dt: float) -> Iterator[Finding]:
    assert subject.settings is not None
    tau = _values(subject, name, what)
    if tau.min() <= 0:
        yield Finding("error", "tau", name, f"{what} must be above 0, is {_span(tau)}")
        return
    rate = dt / tau
    taken = rate if subject.settings.integration == "euler" else -np.expm1(-rate)
    if taken.max() > 1:
        message = f"dt / {what} = {_span(rate)} must be at most 1; the time step is too long for this file"
        yield Finding("error", "dt-long", name, message)
    elif (np.abs(np.rint(4096 * taken) / 4096 / taken - 1) > 0.05).any():
        message = (
            f"loses {_span(taken)} a step, which Loihi's steps of 1/4096 hold to no better than 5 %; mind the step"
        )
        yield Finding("warning", "leak-coarse", name, message)


def _implied(subject: Subject, name: str, node: Any) -> Iterator[float]:
    """Yield the time step that R = tau/dt (snnTorch) or R = 1/dt (SpikingJelly's IF) implies."""
    if not isinstance(node, nir.IF | nir.LIF | nir.CubaLIF):
        return
    r = _values(subject, name, "r")
    tau = (
        _values(subject, name, "tau_mem" if isinstance(node, nir.CubaLIF) else "tau") if hasattr(node, "v_leak") else 1
    )
    found = np.unique(np.round(np.asarray(tau / np.where(r == 0, np.inf, r)), 12))
    if found.size == 1 and found[0] > 0 and not (r == 1).all():
        yield float(found[0])


def reset(subject: Subject) -> Iterator[Finding]:
    """Pitfall 2: soft reset and no reset are written as v_reset = 0."""
    names = [name for name, _ in _kinds(subject, nir.IF, nir.LIF, nir.CubaLIF)]
    for name in names:
        values = _values(subject, name, "v_reset")
        if (values != 0).any():
            message = (
                f"v_reset = {_span(values)}: deployed with the membrane counted from it; norse ignores it on export"
            )
            yield Finding("note", "v-reset", name, message)
    if not names:
        return
    unsure = [name for name in names if not _values(subject, name, "v_reset").any()]
    if subject.settings is not None and subject.settings.reset != "zero":
        message = (
            f"its neurons reset by {subject.settings.reset!r}, which Loihi does not have; train with a hard reset "
            "(and say so with --reset zero), or accept other spikes: 'nir evaluate --as-hard' says how many"
        )
        yield Finding("error", "soft-reset", None, message)
    elif subject.origin in (None, "nir", "snntorch") and not subject.reset_told and unsure:
        message = (
            f"v_reset = 0 of {', '.join(map(repr, unsure[:4]))}{' and others' * (len(unsure) > 4)} may have been a "
            "soft reset: snnTorch writes 'zero', 'subtract' and 'none' alike; look up how the network was trained and "
            "say it with --reset, or --origin nir if the file is meant as it stands"
        )
        # Only the word "nir" says that the file is meant as it stands; without it nothing is run.
        severity: Severity = "warning" if subject.origin == "nir" else "error"
        yield Finding(severity, "reset-unknown", None, message)
    if subject.settings is not None and subject.settings.several:
        message = (
            f"{subject.origin} sends several spikes a step by default, Loihi one; train with one (sinabs: SingleSpike) "
            "and say so with --one-spike"
        )
        yield Finding("error", "several-spikes", None, message)
    if (
        subject.origin == "snntorch"
        and not subject.reset_told
        and (subject.graph.feedback or any(_kinds(subject, nir.CubaLIF)))
    ):
        message = (
            "snnTorch's Synaptic, RLeaky and RSynaptic with reset 'zero' skip the step after a spike unless they were "
            "made with reset_delay=False; NIR and Loihi do not"
        )
        yield Finding("warning", "reset-skips", None, message)
    if subject.settings is not None and subject.settings.at_threshold:
        message = (
            f"{subject.origin} fires at the threshold, NIR and Loihi above it; ties differ, mostly with integer weights"
        )
        yield Finding("note", "tie", None, message)


def resistance(subject: Subject) -> Iterator[Finding]:
    """Pitfall 7: frameworks disagree on R and w_in."""
    for name, node in _kinds(subject, nir.LIF, nir.LI, nir.CubaLIF, nir.CubaLI):
        r = _values(subject, name, "r")
        if (r <= 0).any():
            yield Finding("error", "r", name, f"R = {_span(r)} must be above 0")
        elif (r == 1).all() and subject.origin in (None, "nir"):
            message = "R = 1: NIR scales the input by dt/tau then; sinabs may have meant it unscaled; give --origin"
            yield Finding("warning", "r-convention", name, message)
        elif (r != 1).any():
            yield Finding("note", "r-ignored", name, f"R = {_span(r)}; norse and sinabs ignore R on import")
        if isinstance(node, nir.CubaLIF | nir.CubaLI):
            w = _values(subject, name, "w_in")
            if (w == 1).all() and subject.origin in (None, "nir"):
                message = "w_in = 1: NIR scales the input by dt/tau_syn then; norse means it unscaled; give --origin"
                yield Finding("warning", "w-in", name, message)
    for name, _ in _kinds(subject, nir.IF):
        r = _values(subject, name, "r")
        if (r == 1).all() and subject.origin in (None, "nir"):
            message = (
                "R = 1: by NIR's equation the input is scaled by dt; sinabs and norse mean it unscaled; give --origin"
            )
            yield Finding("warning", "r-convention", name, message)


def readers(subject: Subject) -> Iterator[Finding]:
    """Pitfalls 1, 4, 5, 10, 12: what other readers do to such nodes."""
    for name, _ in _kinds(subject, nir.IF):
        message = "snnTorch imports IF as Leaky with beta 0.9 and soft reset, sinabs with a lower bound at -v_threshold"
        yield Finding("warning", "if-elsewhere", name, message)
    for name, node in _kinds(subject, nir.SumPool2d, nir.AvgPool2d):
        if any(before for before, _ in geometry(name, node).padding):
            average = isinstance(node, nir.AvgPool2d)
            message = "padded pool: snnTorch, NIRTorch, sinabs and norse drop the padding; pad in the convolution"
            yield Finding("error" if average else "warning", "pool-padding", name, message)
    biased = [name for name, node in _kinds(subject, nir.Affine) if np.any(np.asarray(node.bias) != 0)]
    if biased:
        message = f"{len(biased)} Affine nodes: nirtorch 2.6 reads them with a random bias; Lava's converter wants none"
        yield Finding("note", "bias-elsewhere", None, message)
    lost = {
        "SumPool2d": "snnTorch",
        "AvgPool2d": "sinabs and Lava",
        "Conv2d": "Rockpool, Nengo and hxtorch",
        "CubaLI": "Lava",
        "Scale": "Lava",
        "Delay": "Lava",
    }
    for kind in sorted({type(node).__name__ for node in subject.graph.nodes.values()} & lost.keys()):
        yield Finding("note", "not-elsewhere", None, f"{kind} is not read by {lost[kind]}")


def shapes(subject: Subject) -> Iterator[Finding]:
    """Pitfalls 3, 8, 9: shapes that other readers infer otherwise."""
    graph = subject.graph
    for name, node in _kinds(subject, nir.Conv1d, nir.Conv2d):
        moves = geometry(name, node)
        if len(set(moves.kernel)) > 1:
            message = f"kernel {moves.kernel} is not square: nir 1.0.8 infers other shapes (from the height alone)"
            yield Finding("warning", "kernel-shape", name, message)
        if moves.groups > 1:
            message = f"{moves.groups} groups: nir 1.0.8 miscounts the input channels"
            yield Finding("warning", "groups", name, message)
    for name, what, shape in subject.declared:
        before = graph.before(name)
        true = graph.shapes[name if what == "output" else before[0]] if before else ()
        if what == "space":
            true = true[1:]
        if shape and shape != true:
            message = f"states shape {shape}, but weights and input give {true}; ours is used"
            yield Finding("warning", "shape-stated", name, message)
    spatial = [name for name, _ in _kinds(subject, nir.Flatten) if len(graph.shapes[graph.before(name)[0]]) == 3]
    for name in spatial:
        message = "order is (channel, height, width); Lava wants (width, height, channel), spikeproof permutes"
        yield Finding("note", "flatten-order", name, message)
    for name, node in _kinds(subject, *SPIKING, *TIMED):
        values = [getattr(node, what) for what in vars(node) if isinstance(getattr(node, what), np.ndarray)]
        if values and all(value.size == 1 for value in values) and int(np.prod(graph.shapes[name])) > 1:
            message = f"one number stands for {graph.shapes[name]}; some readers make one neuron of it"
            yield Finding("note", "size-one", name, message)
    for name in subject.nested:
        message = "sub-graph: others recognise recurrent layers by its names only; renaming breaks them"
        yield Finding("note", "sub-graph", name, message)


def loihi(subject: Subject) -> Iterator[Finding]:
    """Report what Loihi keeps once a population, or not at all."""
    graph = subject.graph
    whats = ("tau", "tau_mem", "tau_syn", "r", "w_in", "v_threshold", "threshold")
    for name, node in _kinds(subject, nir.I, nir.IF, *LEAKY, nir.Threshold):
        uneven = {
            what: values for what in whats if hasattr(node, what) if _many(values := _values(subject, name, what))
        }
        if uneven:
            told = ", ".join(f"{what} {_span(values)}" for what, values in uneven.items())
            message = f"neurons differ ({told}); Loihi has one value a population: it is split into one for each set"
            yield Finding("warning", "per-neuron", name, message)
        threshold = _values(subject, name, "v_threshold") if hasattr(node, "v_threshold") else None
        if threshold is not None and (threshold <= _values(subject, name, "v_reset")).any():
            message = (
                f"v_threshold = {_span(threshold)} must be above v_reset = {_span(_values(subject, name, 'v_reset'))}"
            )
            yield Finding("error", "threshold", name, message)
    for name, _ in _kinds(subject, *LEAKY):
        if _values(subject, name, "v_leak").any():
            yield Finding("note", "v-leak", name, "rests at v_leak, not 0; deployed as a bias; readers may ignore it")
    output = next(reversed(graph.nodes))
    for name, _ in _kinds(subject, nir.I, nir.LI, nir.CubaLI):
        if graph.after(name) != [output]:
            message = "sends its membrane to other nodes; on Loihi only spikes travel: make it a spiking node"
            yield Finding("error", "membrane-sent", name, message)
    if not any(_kinds(subject, *SPIKING)):
        yield Finding("error", "no-spikes", None, "holds no spiking node; nothing to deploy")


def assumed(subject: Subject) -> Iterator[Finding]:
    """Say what the file leaves open and how it is taken."""
    for name, text in subject.graph.assumed:
        yield Finding("warning", "assumed", name, text)
    for name, node in _kinds(subject, *PARAMETERS):
        shape = subject.graph.shapes[name]
        if any(batch_axes(np.shape(getattr(node, what)), shape) for what in PARAMETERS[type(node)]):
            message = f"parameters have leading axes of 1 more than {shape}: taken as a batch of one that is counted"
            yield Finding("warning", "assumed", name, message)
    for name, node in _kinds(subject, nir.Linear, nir.Affine):
        if len(subject.graph.shapes[name]) > 1:
            rows = subject.graph.shapes[name][0]
            message = f"weight {weight_of(name, node).shape} meets {rows} rows: each by itself, as in PyTorch"
            yield Finding("warning", "assumed", name, message)
    for name, _ in _kinds(subject, nir.CubaLIF, nir.CubaLI):
        biased = [
            start for start in subject.graph.before(name) if np.any(getattr(subject.graph.nodes[start], "bias", 0))
        ]
        if biased:
            message = "its bias goes through the current: deployed as the weights of a neuron that fires at each step"
            yield Finding("note", "current-bias", name, message)


def weights(subject: Subject) -> Iterator[Finding]:
    """Say whether weights are already integers of at most 9 bits times a step."""
    for name, node in _kinds(subject, nir.Linear, nir.Affine, nir.Conv1d, nir.Conv2d):
        values = weight_of(name, node)
        if not values.any():
            yield Finding("warning", "weights-zero", name, "all weights are 0")
        elif on_grid(values) is None:
            message = (
                "weights are on no grid of 9 bits; they will be rounded: train with 'spikeproof quantize' or compare"
            )
            yield Finding("warning", "weight-grid", name, message)


RULES: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    time_step,
    reset,
    resistance,
    shapes,
    loihi,
    assumed,
    weights,
    readers,
)


def _shape(value: Any) -> Shape:
    """Return a stated shape, or nothing if it is none."""
    array = np.atleast_1d(value)
    return tuple(int(size) for size in array) if array.dtype.kind in "iu" and array.ndim == 1 and array.size < 9 else ()


def stated_shapes(graph: nir.NIRGraph, prefix: str = "") -> Iterator[tuple[str, str, Shape]]:
    """Yield the shapes that a file states of inner nodes and of its output, as far as they are shapes."""
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from stated_shapes(node, f"{prefix}{name}.")
        elif isinstance(node, nir.Conv1d | nir.Conv2d) and node.input_shape is not None:
            yield prefix + name, "space", _shape(node.input_shape)
        elif isinstance(node, nir.Flatten) and (node.input_type or {}).get("input") is not None:
            yield prefix + name, "input", _shape(node.input_type["input"])
        elif isinstance(node, nir.Output) and not prefix:
            yield name, "output", declared_shape(name, node)
