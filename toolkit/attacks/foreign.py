"""What an attacker could not take over of a victim: derivatives that others fixed, and state that nobody resets."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Images
from ..network import foreign
from ..network.backward import Backward, attack_gradient
from ..network.foreign import tensors
from ..network.neurons import Neuron
from ..network.surrogates import Surrogate
from .victim import device_of

OWN = __name__.partition(".")[0]
STRAIGHT = ("sinabs.activation.quantize", "brevitas.ops.autograd_ste_ops")
"""Roundings that pass gradients on as they are: there is no surrogate to choose."""
HIDING = ("torch._functorch", "torch._library")
"""Functions of compiled networks and of custom operators, which hide what is inside."""
NATIVE = ("CppNode", "DifferentiableGraph")
"""Parts of the names of functions in C++, and of scripted ones."""


@dataclass(frozen=True)
class Untaken:
    """A module that keeps its own backward pass, or its state.

    Attributes:
        module: its place in the network; empty for the network itself.
        kind: its class.
        reason: what was found.
    """

    module: str
    kind: str
    reason: str


@dataclass
class _Call:
    """One call of a module under way.

    Attributes:
        before: what made its inputs.
        told: whether all that makes spikes in it is known: chosen by the attacker, or noted already.
    """

    before: dict[Any, None]
    told: bool = False


@dataclass
class _Watch:
    """Looks at the graph that each module adds, the innermost modules first."""

    names: dict[int, str]
    seen: dict[Any, None] = field(default_factory=dict)
    calls: list[_Call] = field(default_factory=list)
    found: dict[Untaken, list[Any]] = field(default_factory=dict)
    """With the functions that were found."""

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Remember what the inputs were made by."""
        self.calls.append(_Call({x.grad_fn: None for x in tensors((args, kwargs)) if x.grad_fn is not None}))

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Look at every function that was called between the inputs and the outputs."""
        call = self.calls.pop()
        if not torch.is_grad_enabled():
            return  # Inside a function's own forward pass there is no graph.
        outputs, inputs = list(tensors(output)), list(tensors((args, kwargs)))
        todo = [x.grad_fn for x in outputs if x.grad_fn is not None]
        while todo:
            node = todo.pop()
            if node in self.seen or node in call.before:
                continue
            self.seen[node] = None
            todo += [each for each, _ in node.next_functions if each is not None]
            call.told |= _function(node).startswith(f"{OWN}.")
            if (name := _fixed(node)) is not None:
                call.told = True
                self.note(module, f"it calls {name}, whose derivative cannot be chosen", node)
        makes = bool(outputs) and _spikes(outputs[0]) and (foreign.spiking(module) or not any(map(_spikes, inputs)))
        if makes and not call.told and any(x.requires_grad for x in inputs):
            call.told = True
            why = "a derivative that cannot be chosen" if outputs[0].requires_grad else "no derivative"
            self.note(module, f"its spikes have {why}", None)
        if self.calls:
            self.calls[-1].told |= call.told

    def note(self, module: nn.Module, reason: str, node: Any) -> None:
        """Keep what was found, once a module and reason."""
        name, kind = self.names.get(id(module), ""), type(module)
        self.found.setdefault(Untaken(name, f"{kind.__module__}.{kind.__qualname__}", reason), []).append(node)

    def between(self, x: Tensor) -> list[Untaken]:
        """Return what was found on the way from ``x`` to the logits; what is done to weights alone is left out."""
        source = torch.autograd.graph.get_gradient_edge(x).node
        after: dict[Any, list[Any]] = {}
        todo, met = [node for nodes in self.found.values() for node in nodes if node is not None], set()
        while todo:
            node = todo.pop()
            if node in met:
                continue
            met.add(node)
            for before, _ in node.next_functions:
                if before is not None:
                    after.setdefault(before, []).append(node)
                    todo.append(before)
        reached, todo = set(), [source]
        while todo:
            node = todo.pop()
            if node not in reached:
                reached.add(node)
                todo += after.get(node, [])
        return [one for one, nodes in self.found.items() if any(node is None or node in reached for node in nodes)]


def untaken(model: nn.Module, images: Images) -> list[Untaken]:
    """Return the modules whose surrogates or state could not be taken over, found by running the model.

    Every function in the graph of the logits that was written as ``torch.autograd.Function``, compiled or scripted
    keeps its derivative, unless it is this package's own or was replaced by :func:`..network.backward.attack_gradient`;
    so does what makes zeros and ones of other numbers without such a function.
    State that nobody resets is looked for where a second pass answers otherwise, with the same random numbers.

    Args:
        model: from images to logits.
        images: (samples, ...); one of them is enough.
    """
    names = {id(part): name for name, part in model.named_modules()}
    watch = _Watch(names)
    x = torch.from_numpy(images.copy()).to(device_of(model))
    chosen = Backward(surrogate=Surrogate())
    handles = []
    try:
        for part in model.modules():
            handles.append(part.register_forward_pre_hook(watch.enter, with_kwargs=True))
            handles.append(part.register_forward_hook(watch.leave, with_kwargs=True))
        with attack_gradient(model, chosen), torch.enable_grad(), torch.random.fork_rng():
            x.requires_grad_()
            logits = model(x)  # Kept, and with it the graph.
    finally:
        for handle in handles:
            handle.remove()
    found = watch.between(x)
    del logits
    return [*found, *_stateful(model, x.detach())]


def _stateful(model: nn.Module, x: Tensor) -> Iterator[Untaken]:
    answers, states = [], []
    with attack_gradient(model), torch.no_grad():
        for _ in range(2):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                answers.append(model(x).clone())
            states.append({key: value.clone() for key, value in _states(model)})
    if torch.equal(answers[0], answers[1]):
        return
    kinds = dict(model.named_modules())
    own = {id(child) for part in kinds.values() if isinstance(part, Neuron) for child in part.modules()}
    changed = [key for key in states[1] if key not in states[0] or not _same(states[0][key], states[1][key])]
    for name in dict.fromkeys(name for name, _ in changed):
        if id(kinds[name]) not in own:
            kind = type(kinds[name])
            reason = "it keeps state from one sample to the next, which nothing resets"
            yield Untaken(name, f"{kind.__module__}.{kind.__qualname__}", reason)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def _states(model: nn.Module) -> Iterator[tuple[tuple[str, str], Tensor]]:
    for name, part in model.named_modules():
        for key, value in [*vars(part).items(), *part._buffers.items()]:
            if key in ("_parameters", "_buffers", "_modules"):
                continue
            for place, tensor in enumerate(tensors(value)):
                yield (name, f"{key}[{place}]"), tensor.detach()


def _spikes(x: Tensor) -> bool:
    return x.is_floating_point() and bool(((x == 0) | (x == 1)).all()) and bool((x == 1).any())


def _function(node: Any) -> str:
    """Return the full name of a function written in Python; empty for all others."""
    kind = getattr(node, "_forward_cls", None)
    return "" if kind is None else f"{kind.__module__}.{kind.__qualname__}"


def _fixed(node: Any) -> str | None:
    """Return the name of a node whose derivative cannot be chosen, None for what PyTorch or this package computes."""
    name = _function(node)
    if name.startswith((f"{OWN}.", *STRAIGHT)) or (name.startswith("torch.") and not name.startswith(HIDING)):
        return None
    native: str = node.name()
    return name or (native if any(part in native for part in NATIVE) else None)
