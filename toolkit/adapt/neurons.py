"""What populations of other frameworks have and Loihi's have not, changed."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..network.neurons import CUBA
from ..network.population import CONSTANTS, Population
from .draft import Change, Draft, Norms, Weighted

SLOWEST = 1 - 2**-12
"""The slowest leak that Loihi's 12-bit decay has."""


def put(layer: nn.Module, name: str, value: Tensor) -> None:
    """Give a population a constant; it is not learned any more."""
    layer._parameters.pop(name, None)
    layer._buffers.pop(name, None)
    layer.register_buffer(name, value.detach().clone())


def ends_of(value: Tensor) -> str:
    """Return a constant in words: the number, or the least and the largest."""
    low, high = float(value.min()), float(value.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def varies(value: Tensor | None) -> bool:
    """Return whether a constant is not the same for all."""
    return value is not None and bool((value != value.flatten()[0]).any())


def leaks(draft: Draft, name: str, most: int) -> Change | None:
    """Bring what a step keeps of membrane and current into [0, 1], where snnTorch clamps it when it runs."""
    layer = draft.layers[name]
    if not isinstance(layer, Population):
        return None
    tops = {"keep": 1.0, "current": SLOWEST}
    wrong = [
        (key, getattr(layer, key), top)
        for key, top in tops.items()
        if getattr(layer, key) is not None
        and not bool(((getattr(layer, key) >= 0) & (getattr(layer, key) <= top)).all())
    ]
    if not wrong:
        return None

    def make(draft: Draft) -> None:
        for key, value, top in wrong:
            put(draft.layers[name], key, value.clamp(0, top))

    was = ", ".join(f"{key} {ends_of(value)}" for key, value, _ in wrong)
    becomes = ", ".join(f"{key} {ends_of(value.clamp(0, top))}" for key, value, top in wrong)
    return Change(
        name, "leak", was, becomes, False, "a step keeps 0 to 1 of a membrane, and less than 1 of a current", make
    )


def slow(draft: Draft, name: str, most: int) -> Change | None:
    """Let a membrane leak a little where its current has a memory."""
    layer = draft.layers[name]
    if not isinstance(layer, Population) or layer.current is None or not bool((layer.keep > SLOWEST).any()):
        return None
    keep = layer.keep.clamp(max=SLOWEST)

    def make(draft: Draft) -> None:
        put(draft.layers[name], "keep", keep)

    was, becomes = ends_of(layer.keep), f"{ends_of(keep)}, the slowest leak of 12 bits"
    return Change(
        name, "leak", was, becomes, False, "NIR has no neuron with a synaptic current that does not leak", make
    )


_RESETS = {
    "subtract": "minus the threshold",
    "subtract_later": "minus the threshold, a step later",
    "zero_later": "to the reset value, instead of the next step",
    "none": "none",
}


def reset(draft: Draft, name: str, most: int) -> Change | None:
    """Reset to the reset value, at once."""
    layer = draft.layers[name]
    if not isinstance(layer, Population) or layer.reset == "zero":
        return None

    def make(draft: Draft) -> None:
        changed = draft.layers[name]
        assert isinstance(changed, Population)
        changed.reset = "zero"

    exact = draft.coder.steps == 1
    becomes = f"to {ends_of(layer.reset_to)}, at once"
    why = "Loihi's neurons reset to one value; what a membrane has above its threshold is lost (exact in a single step)"
    return Change(name, "reset", _RESETS[layer.reset], becomes, exact, why, make)


def several(draft: Draft, name: str, most: int) -> Change | None:
    """Send one spike a step."""
    layer = draft.layers[name]
    if not isinstance(layer, Population) or not layer.several:
        return None

    def make(draft: Draft) -> None:
        changed = draft.layers[name]
        assert isinstance(changed, Population)
        changed.several = False

    why = "Loihi's neurons send one binary spike a step (exact where no membrane reaches twice the threshold)"
    return Change(name, "spikes", "several a step", "one a step", False, why, make)


def start(draft: Draft, name: str, most: int) -> Change | None:
    """Start membranes where they reset to."""
    layer = draft.layers[name]
    if not isinstance(layer, Population) or bool((layer.start == layer.reset_to).all()):
        return None
    value = layer.reset_to

    def make(draft: Draft) -> None:
        put(draft.layers[name], "start", value)

    why = "a membrane starts at the value that it resets to"
    return Change(name, "start", ends_of(layer.start), ends_of(value), False, why, make)


def at_threshold(draft: Draft, name: str, most: int) -> Change | None:
    """Fire above the next number below the threshold, which is the same as at it."""
    layer = draft.layers[name]
    if not isinstance(layer, Population) or not layer.at_threshold:
        return None

    def make(draft: Draft) -> None:
        changed = draft.layers[name]
        assert isinstance(changed, Population)
        changed.at_threshold = False
        put(changed, "threshold", torch.nextafter(changed.threshold, changed.threshold.new_tensor(-math.inf)))

    why = (
        "Loihi's comparison is strict; v >= threshold is v > the next float below it, so in float nothing changes; the "
        "Program's threshold is rounded, and a whole sum that meets it does not fire there"
    )
    return Change(name, "comparison", "at the threshold, too", "above it", False, why, make)


def into_weights(draft: Draft, name: str, most: int) -> Change | None:
    """Divide thresholds and gains that differ within a layer into the weights before it."""
    layer = draft.layers[name]
    if not isinstance(layer, Population):
        return None
    gain = layer.gain if layer.current is None else layer.gain * layer.current_gain
    if not (varies(layer.threshold) or varies(gain)):
        return None
    if bool((layer.threshold <= 0).any()) or bool((gain <= 0).any()):
        return None
    ends = draft.ends(name)
    if ends is None or not draft.fits(ends, gain / layer.threshold):
        return None

    def make(draft: Draft) -> None:
        changed = draft.layers[name]
        assert isinstance(changed, Population)
        unit, gains = changed.threshold.detach(), ["gain"] if changed.current is None else ["gain", "current_gain"]
        factor = 1 / unit
        for key in gains:
            factor = factor * getattr(changed, key)
        draft.scale(ends, factor)
        for key in ("rest", "reset_to", "start"):
            put(changed, key, getattr(changed, key) / unit)
        for key in (*gains, "threshold"):
            put(changed, key, torch.ones(()).to(unit))

    was = f"threshold {ends_of(layer.threshold)}, gain {ends_of(gain)}"
    why = "membranes are counted in thresholds: weights, bias, rest and reset of every neuron are divided by its own"
    return Change(name, "threshold", was, f"1, in the weights of {', '.join(ends)}", True, why, make)


def rest(draft: Draft, name: str, most: int) -> Change | None:
    """Make a constant that a membrane without a leak receives one of the weight layer before it."""
    layer = draft.layers[name]
    if not isinstance(layer, Population) or layer.current is not None or not bool((layer.keep >= 1).any()):
        return None
    ends, offset = draft.ends(name), layer.rest / layer.gain
    if not bool((offset != 0).any()) or not ends or not draft.fits(ends[:1], offset) or not draft.passes(name):
        return None

    def make(draft: Draft) -> None:
        changed = draft.layers[name]
        assert isinstance(changed, Population)
        draft.shift(ends, changed.rest / changed.gain)
        put(changed, "rest", torch.zeros(()).to(changed.rest))

    why = "a membrane that does not leak has no resting value in NIR; the constant is a bias of its current"
    return Change(name, "rest", ends_of(layer.rest), f"bias of {ends[0]}", True, why, make)


def populations(draft: Draft, name: str, most: int) -> Change | None:
    """Keep constants of each neuron where a split into populations bears them, else take one value a layer."""
    layer = draft.layers[name]
    if not isinstance(layer, Population):
        return None
    keys = [key for key in CONSTANTS if key not in ("rest", "start") and varies(getattr(layer, key))]
    if not keys:
        return None
    values = torch.broadcast_tensors(*(getattr(layer, key).detach() for key in keys))
    sets = len(torch.unique(torch.stack([value.flatten() for value in values]), dim=1).T)
    learned = [key for key in keys if key in layer.learned()]
    if sets <= most and not learned:
        return None
    was = ", ".join(f"{key} {ends_of(value)}" for key, value in zip(keys, values, strict=True))
    few = sets <= most

    def make(draft: Draft) -> None:
        changed = draft.layers[name]
        for key in keys:
            put(changed, key, getattr(changed, key) if few else getattr(changed, key).mean())
        if "reset_to" in keys and not few:
            put(changed, "start", changed.get_buffer("reset_to"))

    if few:
        why = f"{sets} populations, one for each set of constants; were they learned further, there would be more"
        return Change(name, "constants", f"{was}, learned", "kept, not learned any more", True, why, make)
    becomes = ", ".join(f"{key} {float(getattr(layer, key).detach().mean()):.4g}" for key in keys)
    why = f"{sets} sets of constants would be {sets} populations, more than {most}; one value a layer, the mean"
    return Change(name, "constants", was, becomes, False, why, make)


def bias_of_current(draft: Draft, name: str, most: int) -> Change | None:
    """Make a bias that enters a current with a memory one of the voltage, of the size to which it would pile up."""
    layer, ends = draft.layers[name], draft.ends(name)
    memory = layer.current if isinstance(layer, Population) else layer.gamma if isinstance(layer, CUBA) else None
    if memory is None or ends is None or not draft.passes(name) or not bool((torch.as_tensor(memory) != 0).any()):
        return None
    total = _total(draft, ends)
    if not bool((total != 0).any()):
        return None

    def make(draft: Draft) -> None:
        changed = draft.layers[name]
        assert isinstance(changed, Population | CUBA)
        changed.take_bias(_total(draft, ends))
        for end in ends:
            _without_constant(draft, end)

    was, becomes = f"{ends_of(total)}, of the current", f"{ends_of(total / (1 - memory))}, of the voltage"
    why = "Loihi's bias enters the voltage: the same from the step on at which the current has settled"
    return Change(name, "bias", was, becomes, False, why, make)


def _total(draft: Draft, ends: list[str]) -> Tensor:
    """Return the constant that arrives from layers, (neurons,) or (channels, 1, 1)."""
    parts = [_constant(draft, end) for end in ends]
    total = sum(parts[1:], parts[0])
    return total.view(-1, 1, 1) if _flat(draft, ends[0]) else total


def _flat(draft: Draft, end: str) -> bool:
    """Return whether a layer sends planes, so that its constants are one a channel."""
    return isinstance(draft.layers[end], nn.Conv2d | nn.BatchNorm2d)


def _before(draft: Draft, end: str) -> Weighted | None:
    """Return the weight layer before a norm, where nobody else receives from it."""
    (source, *others) = draft.wires[end]
    layer = draft.layers.get(source)
    alone = not others and draft.users(source) == [end] and isinstance(layer, Weighted)
    return layer if alone and isinstance(layer, Weighted) else None


def _constant(draft: Draft, end: str) -> Tensor:
    """Return what a layer sends in evaluation when it receives nothing, one a channel or neuron."""
    layer = draft.layers[end]
    if isinstance(layer, Norms):
        before = _before(draft, end)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        given = torch.zeros_like(layer.running_mean) if before is None or before.bias is None else before.bias.detach()
        sent = (given - layer.running_mean) / torch.sqrt(layer.running_var + layer.eps)
        return sent if layer.weight is None else sent * layer.weight.detach() + layer.bias.detach()
    assert isinstance(layer, Weighted)
    return torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach().clone()


def _without_constant(draft: Draft, end: str) -> None:
    layer = draft.layers[end]
    if isinstance(layer, Norms):
        before = _before(draft, end)
        assert layer.running_mean is not None
        layer.running_mean = torch.zeros_like(layer.running_mean)
        if layer.bias is not None:
            layer.bias = nn.Parameter(torch.zeros_like(layer.bias))
        if before is not None:
            before.bias = None
    else:
        assert isinstance(layer, Weighted)
        layer.bias = None


Rule = Callable[[Draft, str, int], Change | None]
RULES: tuple[Rule, ...] = (
    leaks,
    reset,
    several,
    start,
    at_threshold,
    into_weights,
    bias_of_current,
    rest,
    populations,
    slow,
)
