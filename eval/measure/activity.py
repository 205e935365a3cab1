"""Four views on how little happens: spikes, synaptic operations, membrane updates, gradients at the input."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...export.program import Program
from ...hw_targets.target import Trace, get_target
from ...hw_targets.torch import TorchTarget
from ...hw_targets.twin import Twin
from ...toolkit.coding import Coder
from ...toolkit.data import Images
from ...toolkit.kernels.scan import integrate
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.network.neurons import LIF
from ...toolkit.network.population import Population, stepped
from ...toolkit.progress import Track, silent
from ...toolkit.task import CLASSES, Task
from ...toolkit.train import seeded
from ..records.cost import Counted, Gradient, Views
from .forms import DRAWS
from .gradients import GradientStatistics
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


def dense_operations(program: Program) -> dict[str, int]:
    """Return the operations a sample if every sender sent at every step, by synapse; padding is nobody's message."""
    counter = SynapticOperations(program)
    found: dict[str, int] = dict.fromkeys(counter.operations, 0)
    for source, target, reached in counter.fan_outs:
        found[f"{source} -> {target}"] += int(reached.sum()) * program.steps
    return found


def membranes(network: SpikingNetwork, images: Images) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return voltage after reset and spikes (time, batch, ...) of every layer of LIF neurons or populations, by name.

    A layer of another neuron, whose spikes its LIF equation does not give, is left out.
    """
    currents: dict[str, list[Tensor]] = {}
    fired: dict[str, Tensor] = {}
    hooks = []
    layers = {name: layer for name, layer in network.named_layers() if isinstance(layer, LIF | Population)}
    for name, layer in layers.items():
        seen = currents.setdefault(name, [])

        def keep(module: nn.Module, given: tuple[Tensor, ...], seen: list[Tensor] = seen) -> None:
            seen.append(given[0].detach())

        # A network with loops calls the neuron step by step, all others the layer once.
        hooks.append((stepped(layer) if network.recurrent else layer).register_forward_pre_hook(keep))
    device = next(network.parameters()).device
    try:
        with torch.no_grad():
            network.eval().spikes(torch.from_numpy(images).to(device), lambda name, sent: fired.update({name: sent}))
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for name, layer in layers.items():
        current = torch.stack(currents[name]) if network.recurrent else currents[name][0]
        if isinstance(layer, Population):
            after_reset, spikes = layer.integrate(current)
        else:
            before_reset, spikes = integrate(current, layer.beta, layer.threshold)
            assert before_reset is not None
            after_reset = before_reset * (1 - spikes)
        if torch.equal(spikes.bool(), fired[name].bool()):
            found[name] = (after_reset.detach().cpu().numpy(), spikes.detach().cpu().numpy())
    return found


def input_gradient(
    network: nn.Module, images: Images, labels: NDArray[Any], device: torch.device, task: Task = CLASSES
) -> Tensor:
    """Return dL/dx (batch, channels, height, width) of what attacks raise, evaluation mode; of classes cross-entropy.

    Raises:
        InputError: outputs and targets of a task without classes differ in width.
    """
    x = torch.from_numpy(images).to(device).requires_grad_()
    loss = task.total(network.eval()(x), torch.from_numpy(labels).to(device))
    (gradient,) = torch.autograd.grad(loss, x)
    return gradient


def views(
    form: SpikingNetwork | Program,
    program: Program,
    coder: Coder,
    images: Images,
    labels: NDArray[Any],
    *,
    batch: int,
    task: Task = CLASSES,
    gain: float = 1.0,
    track: Track = silent,
    what: str = "sparsity",
) -> tuple[Views, dict[str, NDArray[np.float64]]]:
    """Measure the four views on one form.

    Args:
        form: the float or quantized network, or the Program (run on ``loihi``, its gradient taken on its twin).
        program: whose synapses are counted; a float network of the same layers sends along the same ones.
        coder: of the images; if it is stochastic, every form is shown the same draws.
        images: (samples, channels, height, width) in [0, 1], or what the coder takes.
        labels: (samples,), or the task's targets.
        batch: samples a run.
        task: what outputs are for.
        gain: of the network, by which the Program's outputs are multiplied before the gradient is taken.
        track: progress.
        what: label of the progress bar.

    Returns:
        The views, and messages a sample of every neuron and input, (neurons,) by population.

    Raises:
        UnsupportedError: a Program that the simulator or its twin cannot run.
    """
    network: nn.Module
    if isinstance(form, Program):
        compiled, network = get_target("loihi").compile(form), Twin(form, coder=coder, gain=gain)
        device = torch.device("cpu")
    else:
        device = next(form.parameters()).device
        torch_target = TorchTarget(device=str(device), batch=batch, graded=program.graded)
        compiled, network = torch_target.compile(form), form
    operations, membrane, gradient = SynapticOperations(program), MembraneUpdates(), GradientStatistics()
    sent: dict[str, NDArray[np.float64]] = {}
    starts = range(0, len(images), batch)
    for start in track(starts, what, len(starts)):
        x, y = images[start : start + batch], labels[start : start + batch]
        with seeded(DRAWS + start):
            messages = coder.integers(x)
        with seeded(DRAWS + start):
            trace = compiled.run(messages, rasters=True) if isinstance(form, Program) else compiled.run(x)
        operations.update(trace, messages)
        counts = {program.input.name: np.count_nonzero(messages, axis=0), **trace.spike_counts}
        for name, count in counts.items():
            sent[name] = sent.get(name, np.zeros(1)) + count.reshape(len(x), -1).sum(0)
        with seeded(DRAWS + start):
            states = _states(trace) if isinstance(form, Program) else membranes(form, x)
        for name, (v, fired) in states.items():
            membrane.update(name, v, fired)
        with seeded(DRAWS + start):
            gradient.update(input_gradient(network, x, y, device, task))
    number = len(images)
    found = gradient.compute()
    return Views(
        samples=number,
        spikes={name: float(counts.sum()) / number for name, counts in sent.items()},
        places={name: counts.size * program.steps for name, counts in sent.items()},
        operations=operations.compute(),
        dense=dense_operations(program),
        updates={
            name: Counted(**{kind: count / number for kind, count in asdict(updates).items()})
            for name, updates in membrane.compute().items()
        },
        gradient=Gradient(zeros=found.zeros, near_zeros=found.near_zeros, hoyer=found.hoyer, silent=found.silent),
    ), {name: counts / number for name, counts in sent.items()}


def _states(trace: Trace) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    return {name: (raster.v, raster.spikes) for name, raster in trace.rasters.items() if raster.v is not None}
