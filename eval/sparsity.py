"""Four views on how little happens: spikes, synaptic operations, membrane updates, gradients at the input."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from ..export.program import Program
from ..hw_targets.target import Trace, get_target
from ..hw_targets.torch import TorchTarget
from ..hw_targets.twin import Twin
from ..toolkit.coding import direct_integers
from ..toolkit.data import Images, Labels
from ..toolkit.layers import LIF, SpikingNetwork
from ..toolkit.progress import Track, silent
from .metrics import Metric, SynapticOperations


@dataclass(frozen=True)
class Updates:
    """Membrane updates of one population, or of all.

    Attributes:
        changed: neuron steps after which the voltage is another: v(t) != v(t-1), v before the first step is 0.
        active: those, and those that fired.
        all: neuron steps: neurons, steps and samples.
    """

    changed: int
    active: int
    all: int

    def __add__(self, other: "Updates") -> "Updates":
        return Updates(self.changed + other.changed, self.active + other.active, self.all + other.all)


class MembraneUpdates(Metric):
    """Neuron steps that change the voltage, beside all of them; v is taken after the reset of a neuron that fired."""

    name = "membrane updates"
    unit = "neuron steps"
    higher_is_better = False

    def __init__(self) -> None:
        self.found: dict[str, Updates] = {}

    def update(self, name: str, v: NDArray[Any], spikes: NDArray[Any]) -> None:
        """Count a batch of one population.

        Args:
            name: which population.
            v: voltages after each step, (time, batch, ...).
            spikes: (time, batch, ...).
        """
        before = np.concatenate([np.zeros_like(v[:1]), v[:-1]])
        changed = v != before
        here = Updates(int(changed.sum()), int((changed | (spikes != 0)).sum()), v.size)
        self.found[name] = self.found.get(name, Updates(0, 0, 0)) + here

    def compute(self) -> dict[str, Updates]:
        """Return the updates of each population."""
        self._need(len(self.found))
        return dict(self.found)


class InputGradient(Metric):
    """Sparsity of dL/dx at the images: exact zeros, and how few entries hold the rest.

    zeros = #{g == 0} / n, and the Treves-Rolls measure a = (sum |g| / n)^2 / (sum g^2 / n), 1 if all entries are alike
    and 1/n if a single one is not 0 (Treves and Rolls 1991); the mean of a is over samples whose gradient is not 0.
    """

    name = "input gradient"
    unit = "share of entries"
    higher_is_better = None

    def __init__(self) -> None:
        self.zeros = self.entries = self.samples = self.flat = 0
        self.spread = 0.0

    def update(self, gradient: NDArray[np.floating[Any]]) -> None:
        """Count a batch of gradients (batch, ...)."""
        g = np.abs(gradient.reshape(len(gradient), -1).astype(np.float64))
        self.zeros += int((g == 0).sum())
        self.entries += g.size
        self.samples += len(g)
        g = g[g.any(1)]
        # Scaled first: squares of tiny gradients would underflow.
        g = g / g.max(1, keepdims=True) if len(g) else g
        self.flat += len(g)
        self.spread += float((g.mean(1) ** 2 / (g**2).mean(1)).sum()) if len(g) else 0.0

    def compute(self) -> "Gradient":
        """Return both measures."""
        self._need(self.samples)
        spread = self.spread / self.flat if self.flat else None
        return Gradient(zeros=self.zeros / self.entries, spread=spread, vanished=self.samples - self.flat)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gradient(_Part):
    """The gradient at the input: see :class:`InputGradient`; ``vanished`` samples have none at all."""

    zeros: float
    spread: float | None
    vanished: int


class Counted(_Part):
    """Updates a sample, see :class:`Updates`."""

    changed: float
    active: float
    all: float


class Views(_Part):
    """The four views on one form and one set of images.

    Attributes:
        samples: how many images.
        spikes: messages a sample, by population and the input (pixels that are not 0, at every step).
        places: neuron steps a sample, by population and the input: all that could have been sent.
        operations: synaptic operations a sample, by synapse; at borders only those that exist.
        dense: the same if every sender sent at every step.
        updates: membrane updates a sample, by population with a membrane.
        gradient: at the input.
    """

    samples: int
    spikes: dict[str, float]
    places: dict[str, int]
    operations: dict[str, float]
    dense: dict[str, int]
    updates: dict[str, Counted]
    gradient: Gradient


def dense_operations(program: Program) -> dict[str, int]:
    """Return the operations a sample if every sender sent at every step, by synapse; padding is nobody's message."""
    counter = SynapticOperations(program)
    found: dict[str, int] = dict.fromkeys(counter.operations, 0)
    for source, target, reached in counter.fan_outs:
        found[f"{source} -> {target}"] += int(reached.sum()) * program.steps
    return found


def membranes(network: SpikingNetwork, images: Images) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return voltage after reset and spikes (time, batch, ...) of every LIF layer, by name."""
    kept: dict[str, list[tuple[Tensor, Tensor]]] = {}
    hooks = []
    for name, layer in network.named_layers():
        if isinstance(layer, LIF):
            seen = kept.setdefault(name, [])

            def keep(
                module: nn.Module, given: Any, answer: tuple[Tensor, Tensor], seen: list[tuple[Tensor, Tensor]] = seen
            ) -> None:
                spike, membrane = answer
                # snnTorch shows the voltage that fired and resets it at the next step.
                seen.append((membrane * (1 - spike), spike))

            hooks.append(layer.neuron.register_forward_hook(keep))
    device = next(network.parameters()).device
    try:
        with torch.no_grad():
            network.eval()(torch.from_numpy(images).to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name: (torch.stack([v for v, _ in seen]).cpu().numpy(), torch.stack([s for _, s in seen]).cpu().numpy())
        for name, seen in kept.items()
    }


def input_gradient(network: nn.Module, images: Images, labels: Labels, device: torch.device) -> NDArray[Any]:
    """Return dL/dx (batch, channels, height, width) of the cross-entropy, evaluation mode."""
    x = torch.from_numpy(images).to(device).requires_grad_()
    loss = nn.functional.cross_entropy(network.eval()(x), torch.from_numpy(labels).to(device), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    return np.asarray(gradient.cpu().numpy())


def views(
    form: SpikingNetwork | Program,
    program: Program,
    images: Images,
    labels: Labels,
    *,
    batch: int,
    track: Track = silent,
    what: str = "sparsity",
) -> Views:
    """Measure the four views on one form.

    Args:
        form: the float or quantized network, or the Program (run on ``loihi``, its gradient taken on its twin).
        program: whose synapses are counted; a float network of the same layers sends along the same ones.
        images: (samples, channels, height, width) in [0, 1].
        labels: (samples,).
        batch: samples a run.
        track: progress.
        what: label of the progress bar.

    Raises:
        UnsupportedError: a Program that the simulator or its twin cannot run.
    """
    network: nn.Module
    if isinstance(form, Program):
        compiled, network = get_target("loihi").compile(form), Twin(form)
        device = torch.device("cpu")
    else:
        device = next(form.parameters()).device
        compiled, network = TorchTarget(device=str(device), batch=batch).compile(form), form
    operations, membrane, gradient = SynapticOperations(program), MembraneUpdates(), InputGradient()
    spikes: dict[str, int] = {}
    starts = range(0, len(images), batch)
    for start in track(starts, what, len(starts)):
        x = images[start : start + batch]
        messages = direct_integers(x, program.steps)
        trace = compiled.run(messages, rasters=True) if isinstance(form, Program) else compiled.run(x)
        operations.update(trace, messages)
        counts = {program.input.name: int(np.count_nonzero(messages))}
        counts |= {name: int(part.sum()) for name, part in trace.spike_counts.items()}
        for name, count in counts.items():
            spikes[name] = spikes.get(name, 0) + count
        for name, (v, fired) in (_states(trace) if isinstance(form, Program) else membranes(form, x)).items():
            membrane.update(name, v, fired)
        gradient.update(input_gradient(network, x, labels[start : start + batch], device))
    size = {program.input.name: program.input.shape} | {part.name: part.shape for part in program.populations}
    number = len(images)
    return Views(
        samples=number,
        spikes={name: count / number for name, count in spikes.items()},
        places={name: int(np.prod(size[name])) * program.steps for name in spikes},
        operations=operations.compute(),
        dense=dense_operations(program),
        updates={
            name: Counted(**{kind: count / number for kind, count in asdict(found).items()})
            for name, found in membrane.compute().items()
        },
        gradient=gradient.compute(),
    )


def _states(trace: Trace) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    return {name: (raster.v, raster.spikes) for name, raster in trace.rasters.items() if raster.v is not None}
