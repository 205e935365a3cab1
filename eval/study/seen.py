"""What every form of a network makes of samples, neuron by neuron; and the decision surface around one of them."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...hw_targets.target import Compiled, get_target
from ...hw_targets.twin import Twin
from ...toolkit.attacks.gradient import PGD
from ...toolkit.attacks.iterative import TINY
from ...toolkit.data import Images, Labels
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.network.neurons import Neuron
from ..measure.forms import Forms
from ..records.base import FormName

BATCH = 250
SENSITIVE = 0.25
"""Change of a rate, in spikes a step, beyond which a neuron counts as sensitive (design notes, section 8)."""
GRID = np.linspace(-2, 2, 17)
"""Steps of a decision surface, in lengths of the attack."""

Rates = dict[str, NDArray[np.float64]]


def seen(forms: Forms, form: FormName, images: Images, *, program: Compiled) -> tuple[Labels, Rates]:
    """Return classes (samples,), and the rates (samples, ...) of hidden neurons by layer.

    Args:
        forms: of one network.
        form: which.
        images: (samples, ...).
        program: the Program, compiled.
    """
    hidden = hidden_layers(forms.network)
    classes, rates = [], []
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        if form == "program":
            trace = program.run(forms.coder.integers(part))
            classes.append(trace.classes)
            rates.append({name: trace.spike_counts[name] / forms.network.steps for name in hidden})
        else:
            network = forms.network if form == "float" else forms.quantized
            found: Rates = {}

            def watch(name: str, signal: torch.Tensor, found: Rates = found) -> None:
                if name in hidden:
                    found[name] = signal.double().mean(0).numpy()

            with torch.no_grad():
                last = network.spikes(torch.from_numpy(part), watch)
                classes.append(network.logits(last).argmax(1).numpy())
            rates.append(found)
    return np.concatenate(classes), {name: np.concatenate([part[name] for part in rates]) for name in hidden}


def hidden_layers(network: SpikingNetwork) -> list[str]:
    """Return the names of the layers of neurons before the read-out."""
    return [name for name, layer in network.named_layers() if isinstance(layer, Neuron) and name != network.readout]


def sensitive(before: Rates, after: Rates) -> float:
    """Return the share of neurons, over samples and layers, whose rate differs by more than :data:`SENSITIVE`."""
    moved = [np.abs(after[name] - before[name]).ravel() > SENSITIVE for name in before]
    return float(np.concatenate(moved).mean())


def compiled(forms: Forms) -> Compiled:
    """Return the Program on target ``loihi``."""
    return get_target("loihi").compile(forms.program)


def surfaces(
    forms: Forms, images: Images, labels: Labels, epsilon: float, seed: int
) -> dict[FormName, list[list[float]]]:
    """Return p_true - max p_other around the first sample that all forms get right, of the float and the deployed form.

    Nothing, where they share none among the first ones.

    The plane is spanned by what PGD (10 steps, L-infinity, on the float network) adds to the sample, and a random
    direction that is orthogonal to it and as long; images are cut to [0, 1].

    Args:
        forms: of one network.
        images: test samples (samples, ...).
        labels: (samples,).
        epsilon: radius of PGD.
        seed: of both directions.
    """
    modules: Mapping[FormName, nn.Module] = {
        "float": forms.network,
        "program": Twin(forms.program, gain=forms.network.gain, coder=forms.coder),
    }
    few = slice(BATCH)
    right = np.logical_and.reduce([_margins(module, images[few], labels[few]) > 0 for module in modules.values()])
    if not right.any():
        return {}
    place = int(right.argmax())
    one, label = images[place : place + 1], labels[place : place + 1]
    attack = PGD(epsilon=epsilon, steps=10, seed=seed)(forms.network, one, label).images - one
    along: NDArray[np.float64] = np.asarray(attack, dtype=np.float64).ravel()
    across = np.random.default_rng(seed).standard_normal(along.size)
    across -= along * float(across @ along) / max(float(along @ along), TINY)
    across *= np.linalg.norm(along) / np.linalg.norm(across)
    steps = np.stack(np.meshgrid(GRID, GRID), axis=-1).reshape(-1, 2)  # (across, along), rows are across
    moved = (one.ravel() + steps[:, :1] * along + steps[:, 1:] * across).clip(0, 1).astype(np.float32)
    moved = moved.reshape(-1, *one.shape[1:])
    return {
        name: _margins(module, moved, np.repeat(label, len(moved))).reshape(len(GRID), -1).round(4).tolist()
        for name, module in modules.items()
    }


@torch.no_grad()
def _margins(module: nn.Module, images: Images, labels: Labels) -> NDArray[np.float64]:
    """Return p_true - max p_other (samples,)."""
    parts = [
        module(torch.from_numpy(images[start : start + BATCH])).double().softmax(1).numpy()
        for start in range(0, len(images), BATCH)
    ]
    found = np.concatenate(parts)
    rows = np.arange(len(found))
    true = found[rows, labels].copy()
    found[rows, labels] = -1
    return np.asarray(true - found.max(1))
