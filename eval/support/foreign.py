"""Small networks of every framework, written as their users write them: what adoption is tried on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

STEPS = 4


class _Loop(nn.Module):
    """An snnTorch network as its tutorials write it: the loop over time is in the forward pass, states are explicit.

    Args:
        first: the part before the first neurons.
        cells: neurons, and the part that follows each of them.
    """

    def __init__(self, first: nn.Module, *cells: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.cells = nn.ModuleList(cells)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return spikes and membranes of the last neurons, (time, batch, classes)."""
        cells: list[Any] = list(self.cells)
        states = [cell.reset_mem() for cell in cells[::2]]
        told = []
        for _ in range(STEPS):
            now = self.first(x)
            for number, cell in enumerate(cells):
                if number % 2:
                    now = cell(now)
                    continue
                state = states[number // 2]
                answer = cell(now, *(state if isinstance(state, tuple | list) else (state,)))
                # Recurrent neurons take their spikes back, too.
                now, states[number // 2] = answer[0], answer if hasattr(cell, "recurrent") else answer[1:]
            told.append((now, states[-1][-1]))
        spikes, membranes = zip(*told, strict=True)
        return torch.stack(spikes), torch.stack(membranes)


def _tutorial(**options: Any) -> nn.Module:
    import snntorch

    return _Loop(
        nn.Linear(64, 40), snntorch.Leaky(beta=0.9, **options), nn.Linear(40, 10), snntorch.Leaky(beta=0.9, **options)
    )


def _synaptic(**options: Any) -> nn.Module:
    import snntorch

    def cell() -> Any:
        return snntorch.Synaptic(alpha=0.7, beta=0.8, **options)

    return _Loop(nn.Linear(64, 40), cell(), nn.Linear(40, 10), cell())


def _recurrent(synaptic: bool, **options: Any) -> nn.Module:
    import snntorch

    made = {"linear_features": 40, **options}
    cell = snntorch.RSynaptic(alpha=0.7, beta=0.8, **made) if synaptic else snntorch.RLeaky(beta=0.8, **made)
    return _Loop(nn.Linear(64, 40), cell, nn.Linear(40, 10), snntorch.Leaky(beta=0.8, reset_mechanism="zero"))


class _Pooled(nn.Module):
    """The convolutional network of snnTorch's sixth tutorial, smaller: max pooling stands before the neurons."""

    def __init__(self, reset: str) -> None:
        super().__init__()
        import snntorch

        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.lif1, self.lif2, self.lif3 = (snntorch.Leaky(beta=0.5, reset_mechanism=reset) for _ in range(3))
        self.fc1 = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return spikes (time, batch, classes)."""
        first, second, third = (lif.init_leaky() for lif in (self.lif1, self.lif2, self.lif3))
        told = []
        for _ in range(STEPS):
            now, first = self.lif1(functional.max_pool2d(self.conv1(x), 2), first)
            now, second = self.lif2(functional.max_pool2d(self.conv2(now), 2), second)
            now, third = self.lif3(self.fc1(now.view(x.size(0), -1)), third)
            told.append(now)
        return torch.stack(told)


def _sequential() -> nn.Module:
    import snntorch

    def cell(**options: Any) -> Any:
        return snntorch.Leaky(beta=0.7, init_hidden=True, reset_mechanism="zero", **options)

    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        cell(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
        cell(output=True),
    )


class _SpikingJelly(nn.Module):
    """Convolution, batch norm and neurons of SpikingJelly, single- or multi-step, read by mean spike counts."""

    def __init__(self, mode: str, node: str = "LIFNode", pool: str = "MaxPool2d", **options: Any) -> None:
        super().__init__()
        from spikingjelly.activation_based import functional as switch
        from spikingjelly.activation_based import layer, neuron, surrogate

        self.mode = mode

        def cell() -> nn.Module:
            made: nn.Module = getattr(neuron, node)(surrogate_function=surrogate.ATan(), **options)
            return made

        self.net = nn.Sequential(
            layer.Conv2d(1, 8, 3, padding=1, bias=False),
            layer.BatchNorm2d(8),
            cell(),
            getattr(layer, pool)(2, 2),
            layer.Conv2d(8, 8, 3, padding=1, bias=False),
            layer.BatchNorm2d(8),
            cell(),
            layer.AvgPool2d(2, 2),
            layer.Flatten(),
            layer.Linear(32, 10),
            cell(),
        )
        switch.set_step_mode(self, mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return mean spike counts (batch, classes)."""
        if self.mode == "m":
            found: torch.Tensor = self.net(x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)).mean(0)
            return found
        total: torch.Tensor = sum((self.net(x) for _ in range(STEPS)), torch.zeros(()))
        return total / STEPS


class _Residual(nn.Module):
    """A residual block of SpikingJelly's neurons, averaged over the image, read by the mean of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron

        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.if1, self.if2, self.fc = neuron.IFNode(), neuron.IFNode(), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return mean logits (batch, classes)."""
        told = []
        for _ in range(STEPS):
            shortcut = self.if1(self.conv1(x))
            told.append(self.fc((self.if2(self.conv2(shortcut)) + shortcut).mean((2, 3))))
        return torch.stack(told).mean(0)


class _Norse(nn.Module):
    """Cells of norse with explicit states."""

    def __init__(self) -> None:
        super().__init__()
        import norse.torch as norse

        self.fc1, self.fc2 = nn.Linear(64, 40), nn.Linear(40, 10)
        self.cell1, self.cell2 = norse.LIFCell(), norse.LIFCell()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return spike counts (batch, classes)."""
        first = second = None
        told = []
        for _ in range(STEPS):
            now, first = self.cell1(self.fc1(x), first)
            now, second = self.cell2(self.fc2(now), second)
            told.append(now)
        return torch.stack(told).sum(0)


class _Sinabs(nn.Module):
    """Layers of sinabs, which take all steps at once, samples first."""

    def __init__(self, several: bool) -> None:
        super().__init__()
        from sinabs import activation, layers

        spikes = activation.MultiSpike if several else activation.SingleSpike
        reset = activation.MembraneSubtract() if several else activation.MembraneReset()
        how = {"spike_fn": spikes, "reset_fn": reset}
        self.fc1, self.fc2 = nn.Linear(64, 40), nn.Linear(40, 10)
        self.lif, self.iaf = layers.LIF(tau_mem=10.0, norm_input=False, **how), layers.IAF(**how)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return spike counts (batch, classes)."""
        steps = x.unsqueeze(1).repeat(1, STEPS, 1)
        found: torch.Tensor = self.iaf(self.fc2(self.lif(self.fc1(steps)))).sum(1)
        return found


@dataclass(frozen=True)
class Foreign:
    """A network from elsewhere.

    Attributes:
        framework: of its neurons.
        make: returns it, untrained.
        flat: whether it takes rows of 64 features, not images of 8x8.
        options: of :func:`..face.adopt.adopt`.
        deploys: whether its neurons exist on the chip as they are.
    """

    framework: str
    make: Callable[[], nn.Module]
    flat: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    deploys: bool = True


FOREIGN: dict[str, Foreign] = {
    "MLP of the tutorials, reset subtract": Foreign("snntorch", _tutorial, flat=True, deploys=False),
    "MLP of the tutorials, reset zero": Foreign("snntorch", lambda: _tutorial(reset_mechanism="zero"), flat=True),
    "conv net of the tutorials, reset subtract": Foreign("snntorch", lambda: _Pooled("subtract"), deploys=False),
    "conv net of the tutorials, reset zero": Foreign("snntorch", lambda: _Pooled("zero"), deploys=False),
    "nn.Sequential, hidden states": Foreign("snntorch", _sequential, options={"steps": STEPS}),
    "Synaptic, reset subtract": Foreign("snntorch", _synaptic, flat=True, deploys=False),
    "Synaptic, reset zero": Foreign("snntorch", lambda: _synaptic(reset_mechanism="zero"), flat=True, deploys=False),
    "Synaptic, reset zero at once": Foreign(
        "snntorch", lambda: _synaptic(reset_mechanism="zero", reset_delay=False), flat=True
    ),
    "RLeaky, reset subtract": Foreign("snntorch", lambda: _recurrent(False), flat=True, deploys=False),
    "RLeaky, reset zero at once": Foreign(
        "snntorch", lambda: _recurrent(False, reset_mechanism="zero", reset_delay=False), flat=True
    ),
    # With reset_delay=False RSynaptic's own forward pass fails (snnTorch 1.0.0 names a variable it does not have).
    "RSynaptic, reset subtract": Foreign("snntorch", lambda: _recurrent(True), flat=True, deploys=False),
    "conv-BN-LIF, multi-step": Foreign("spikingjelly", lambda: _SpikingJelly("m")),
    "conv-BN-LIF, single-step": Foreign("spikingjelly", lambda: _SpikingJelly("s")),
    "conv-BN-LIF, average pools, decay_input=False": Foreign(
        "spikingjelly", lambda: _SpikingJelly("m", pool="AvgPool2d", decay_input=False)
    ),
    "conv-BN-PLIF": Foreign("spikingjelly", lambda: _SpikingJelly("m", "ParametricLIFNode")),
    "conv-BN-IF, soft reset": Foreign(
        "spikingjelly", lambda: _SpikingJelly("m", "IFNode", v_reset=None), deploys=False
    ),
    "residual net of IF neurons": Foreign("spikingjelly", _Residual),
    "LIF cells": Foreign("norse", _Norse, flat=True),
    "LIF and IAF, several spikes a step": Foreign("sinabs", lambda: _Sinabs(True), flat=True, deploys=False),
    "LIF and IAF, one spike a step": Foreign("sinabs", lambda: _Sinabs(False), flat=True),
}
"""Networks that the tests adopt and the table of ``spikeproof support --networks`` is made of."""


def ready(name: str, seed: int = 0, loudness: float = 8.0) -> nn.Module:
    """Return a network of :data:`FOREIGN` whose neurons fire: weights grown, norms with statistics of their own.

    Args:
        name: of the network.
        seed: of its weights.
        loudness: what weights are multiplied by.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FOREIGN[name].make()
        with torch.no_grad():
            for part in model.modules():
                if isinstance(part, nn.Conv2d | nn.Linear):
                    part.weight *= loudness
                elif (
                    isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None
                ):
                    part.running_mean.normal_(0, 0.3)
                    part.running_var.uniform_(0.5, 1.5)
    return model.eval()
