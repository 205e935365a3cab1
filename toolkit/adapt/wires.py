"""What has no form on the chip between populations, and in what is read, changed."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..network.network import INPUT, spiking
from ..network.neurons import Integrator, Neuron
from ..network.population import LeakyIntegrator, Population
from .draft import Change, Draft, Norms
from .neurons import ends_of, varies

Pools = Literal["after", "average"]
_NOTHING = nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d


def nothing(draft: Draft, name: str) -> Change | None:
    """Take out layers that do nothing in evaluation."""
    layer = draft.layers[name]
    if not isinstance(layer, _NOTHING) or not draft.may_bypass(name) or name == draft.last:
        return None

    def make(draft: Draft) -> None:
        draft.bypass(name)

    return Change(name, "dropout", type(layer).__name__, "nothing", True, "it does nothing in evaluation", make)


def _analog(draft: Draft, pool: str) -> bool:
    """Return whether a max pool receives currents, not the binary spikes that make it an OR."""
    return not all(_sends_spikes(draft, source) for source in draft.wires[pool]) or len(draft.wires[pool]) > 1


def _sends_spikes(draft: Draft, name: str) -> bool:
    if name == INPUT:
        return draft.coder.binary
    layer = draft.layers[name]
    if isinstance(layer, nn.MaxPool2d):
        return not _analog(draft, name)
    return spiking(layer) and not (isinstance(layer, Population) and layer.several)


def norm_before_pool(draft: Draft, name: str) -> Change | None:
    """Swap a pool and the norm behind it, so that the norm follows its weights."""
    norm, sources = draft.layers[name], draft.wires[name]
    pool = draft.layers.get(sources[0])
    if not isinstance(norm, nn.BatchNorm2d) or not isinstance(pool, nn.MaxPool2d | nn.AvgPool2d) or len(sources) > 1:
        return None
    before = sources[0]
    if isinstance(pool, nn.MaxPool2d) and not _analog(draft, before):
        return None  # an OR of spikes, which has a form where it is
    if draft.users(before) != [name] or not draft.may_bypass(before):
        return None
    rising = norm.weight is None or bool((norm.weight > 0).all())
    padded = pool.padding not in (0, (0, 0))
    exact = not padded if isinstance(pool, nn.AvgPool2d) else rising

    def make(draft: Draft) -> None:
        moved = draft.layers[before]
        draft.bypass(before)
        draft.insert(before, moved, name)

    kind = type(pool).__name__
    why = "a norm is folded into its weights (exact: average pools without padding; max pools where gamma > 0)"
    return Change(name, "norm", f"behind {kind} {before!r}", "before it", exact, why, make)


def pool_after_neuron(draft: Draft, name: str, pools: Pools) -> Change | None:
    """Move a max pool of currents behind the neurons that it feeds, or make it an average."""
    pool = draft.layers[name]
    if not isinstance(pool, nn.MaxPool2d) or not _analog(draft, name):
        return None
    users = draft.users(name)
    neurons = draft.layers[users[0]] if len(users) == 1 else None
    if isinstance(neurons, Norms):  # one that could not be moved before the pool
        return None
    movable = isinstance(neurons, Neuron) and draft.wires[users[0]] == (name,) and draft.may_bypass(name)
    if pools == "average" or not movable:
        return _average(draft, name, pool)
    behind = users[0]
    assert neurons is not None
    uneven = isinstance(neurons, Population) and any(
        value.dim() == 3 and value.shape[1:] != (1, 1) and varies(value) for value in neurons.state_dict().values()
    )
    if uneven:
        return _average(draft, name, pool)
    forgets = isinstance(neurons, Population) and neurons.current is None and not bool((neurons.keep != 0).any())
    exact = draft.coder.steps == 1 or forgets

    def make(draft: Draft) -> None:
        moved, population = draft.layers[name], draft.layers[behind]
        if isinstance(population, Population):
            # One number a place, all the same: there are more places in front of the pool.
            for constant, shape in population.shapes().items():
                if shape[1:] not in ([], [1, 1]):
                    one = getattr(population, constant).detach().flatten()[0].clone()
                    learned = constant in population.learned()
                    setattr(population, constant, nn.Parameter(one) if learned else one)
        draft.bypass(name)
        draft.insert(name, moved, behind)

    why = (
        "max pooling on the chip is an OR of spikes (exact in a single step or without a memory; else not, as each "
        "neuron of the window keeps a membrane of its own)"
    )
    return Change(
        name, "max pool", f"of currents, before {behind!r}", f"of spikes, behind {behind!r}", exact, why, make
    )


def _average(draft: Draft, name: str, pool: nn.MaxPool2d) -> Change | None:
    if pool.ceil_mode or pool.dilation not in (1, (1, 1)):
        return None

    def make(draft: Draft) -> None:
        draft.layers[name] = nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding)

    why = "max pooling of anything but spikes has no form on the chip; average pooling is linear"
    return Change(name, "max pool", "maximum of currents", "average pooling", False, why, make)


def readout(draft: Draft) -> Change | None:
    """Make the membrane that is read a plain integrator, with the same answer to a constant current."""
    name, steps = draft.last, draft.coder.steps
    # A membrane that is added up over time is read by an integrator behind it.
    summed = isinstance(draft.layers[name], Integrator) and len(draft.wires[name]) == 1
    before = draft.wires[name][0]
    summed = summed and isinstance(draft.layers.get(before), LeakyIntegrator) and draft.users(before) == [name]
    read = before if summed else name
    layer = draft.layers[read]
    if not isinstance(layer, LeakyIntegrator):
        return None
    factor, offset = _answer(layer, steps, summed)
    exact = layer.current is None and bool((layer.keep == (0 if summed else 1)).all())
    plain = exact and bool((factor == 1).all()) and not bool((offset != 0).any())
    ends = draft.ends(read)
    foldable = ends is not None and draft.fits(ends, factor) and draft.fits(ends[:1], offset) and draft.passes(read)
    if not foldable:
        exact = exact and not varies(factor) and not bool((offset != 0).any())
    if (plain and not summed) or not float(factor.mean()) > 0:
        return None

    def make(draft: Draft) -> None:
        changed = draft.layers[read]
        assert isinstance(changed, LeakyIntegrator)
        factor, offset = _answer(changed, steps, summed)
        common = factor.mean()
        draft.gain = draft.gain * float(common)
        if foldable and ends is not None:
            if varies(factor):
                draft.scale(ends, factor / common)
            if bool((offset != 0).any()):
                draft.shift(ends, offset / common)
        draft.layers[read] = Integrator()
        if summed:
            draft.bypass(name)

    was = "an integrator with a scale or a start" if exact else f"a membrane that keeps {ends_of(layer.keep)} a step"
    was += ", added up over time" if summed else ""
    becomes = f"a plain integrator, logits times {float(factor.mean()):.4g}"
    why = "what is read on the chip is the sum of what arrived (exact where nothing leaks, or for a constant current)"
    return Change(read, "read-out", was, becomes, exact, why, make)


def _answer(layer: LeakyIntegrator, steps: int, summed: bool) -> tuple[Tensor, Tensor]:
    """Return what is read, a step: for a current of 1 minus that for none, and for none."""
    sizes = torch.broadcast_shapes(*(value.shape for value in layer.state_dict().values()))
    with torch.no_grad():
        silent, driven = (
            layer(made(steps, 1, *sizes, dtype=layer.keep.dtype))[:, 0] for made in (torch.zeros, torch.ones)
        )
    silent, driven = (one.sum(0) / steps if summed else one[-1] / steps for one in (silent, driven))
    return driven - silent, silent


def unread(draft: Draft) -> list[str]:
    """Return what is left that is known to have no form on the chip, and for which no change is known."""
    found = []
    for name, layer in draft.layers.items():
        if isinstance(layer, LeakyIntegrator) and name != draft.last:
            found.append(f"layer {name!r}: a membrane that is not read at the end, but sent on; make it fire")
        elif isinstance(layer, Population) and (reason := layer.why_not()) is not None:
            found.append(f"layer {name!r}: {reason}")
        elif isinstance(layer, nn.MaxPool2d) and _analog(draft, name):
            found.append(
                f"layer {name!r}: a maximum of currents with no neurons right behind it, no average in its place"
            )
    return found
