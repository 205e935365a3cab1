"""Watching a model run: which layers it calls on which tensors, step by step, folded into one network over time."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

from ..errors import InputError, UnsupportedError
from ..network.foreign import framework, tensors
from .functions import DECIDES, LOOKS, RULES, SAME
from .graph import Node, Value
from .layers import adaptive
from .neurons import Found, is_neuron, own, read_neuron
from .tape import Tape

SKIPPED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
KNOWN = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.Flatten,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)
"""Layers without state that are taken as they are, with those that derive from them and bring no other forward pass."""


@dataclass
class Seen:
    """A neuron module as it was met.

    Attributes:
        found: its equations.
        node: of its spikes.
        calls: how often it was called: the number of steps so far.
        spikes: what it sent at each step, (batch, ...), for the proof.
    """

    found: Found
    node: int
    calls: int
    spikes: list[Tensor]


class Recorder(Tape, TorchFunctionMode):
    """A tape that records while a model runs.

    Args:
        names: of the model's modules.
        shape: of a sample, without time and batch.

    Attributes:
        neurons: what was met, by the module's identity.
        notes: what was assumed, by layer.
    """

    def __init__(self, names: dict[int, str], shape: tuple[int, ...]) -> None:
        Tape.__init__(self, shape)
        TorchFunctionMode.__init__(self)
        self.names = names
        self.neurons: dict[int, Seen] = {}
        self.notes: dict[str, list[str]] = {}
        self.refused: UnsupportedError | None = None
        self._depth = 0
        self._inside: list[nn.Module] = []
        self._path: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function, and note what its result stands for."""
        kwargs = kwargs or {}
        if self._depth:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        attribute = name == "__get__"
        if attribute:
            name = getattr(getattr(func, "__self__", None), "__name__", name)
        known = [part for part in tensors((args, kwargs)) if self.value(part) is not None]
        if known and name in DECIDES:
            raise self._refuse(f"the model looks at values while it runs ({name}), and may decide by them")
        # A function may be made of others, which are its own business.
        self._depth += 1
        try:
            out = func(*args, **kwargs)
        finally:
            self._depth -= 1
        if known and name not in LOOKS and not (attribute and not isinstance(out, Tensor)):
            before, self.now = self.now, name
            try:
                self._after(name, args, kwargs, out)
            except UnsupportedError as error:
                raise self._refuse(f"in module {self._path[-1]!r}: {error}" if self._path else str(error)) from error
            finally:
                self.now = before
        return out

    def _refuse(self, why: str) -> UnsupportedError:
        """Return an error, and remember the first: a model that catches it would go on unwatched."""
        self.refused = self.refused or UnsupportedError(why)
        return UnsupportedError(why)

    def _after(self, name: str, args: Any, kwargs: Any, out: Any) -> None:
        if name in SAME:
            if "dropout" in name and self._argument(args, kwargs):
                raise UnsupportedError("dropout that is on; call model.eval(), and give self.training to F.dropout")
            value = self.value(args[0])
            if value is not None and isinstance(out, Tensor):
                self.set(out, value)
        elif name in RULES:
            RULES[name](self, args, kwargs, out)
        else:
            # What it gives may be no tensor: a signal that is written into, a storage that is read.
            raise UnsupportedError(f"{name} has no form in a spiking network here")

    def _argument(self, args: Any, kwargs: Any) -> bool:
        return bool(args[2] if len(args) > 2 else kwargs.get("training", True))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context modules and functions are recorded."""
        handles = [
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _leaf(self, module: nn.Module) -> bool:
        return own(module) or is_neuron(module) or _as_known(module) or _activation(module)

    def _enter(self, module: nn.Module, given: Any) -> None:
        if self._leaf(module):
            self._inside.append(module)
            self._depth += 1
        elif not self._depth:
            self._path.append(self.names.get(id(module), type(module).__name__))

    def _leave(self, module: nn.Module, args: Any, *rest: Any) -> None:
        # Where the module failed, torch leaves the keywords out.
        kwargs, out = rest if len(rest) == 2 else ({}, None)
        if not self._inside or self._inside[-1] is not module:
            if not self._depth and self._path:
                self._path.pop()
            return
        self._inside.pop()
        self._depth -= 1
        if self._depth or out is None:
            return
        name = self.names.get(id(module), type(module).__name__.lower())
        try:
            self._called(module, name, args, kwargs, out)
        except InputError as error:
            raise self._refuse(f"module {name!r} ({type(module).__name__}): {error}") from error

    def _called(self, module: nn.Module, name: str, args: Any, kwargs: Any, out: Any) -> None:
        given = [*args, *kwargs.values()]
        value = self.value(given[0]) if given else None
        if value is None:
            raise UnsupportedError(
                "gets a tensor that cannot be followed back to the sample: a custom function made it "
                "(autograd.Function, NumPy), or it is a constant"
            )
        if "forward" in vars(module):
            raise UnsupportedError("its forward pass was replaced by another function")
        if isinstance(module, SKIPPED):
            self.set(out, value)
        elif is_neuron(module) or own(module):
            self._neuron(module, name, value, given, out)
        elif isinstance(module, KNOWN):
            self._stateless(module, name, value, given[0], out)
        else:
            raise UnsupportedError("has no form in a spiking network; for a network of ReLUs see sp.convert")

    def _stateless(self, module: Any, name: str, value: Value, tensor: Tensor, out: Tensor) -> None:
        if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            largest = isinstance(module, nn.AdaptiveMaxPool2d)
            before, after = tuple(tensor.shape[-2:]), tuple(out.shape[-2:])
            self.set(out, self.layer(value, ("pool", before, after), name, lambda: adaptive(before, after, largest)))
            return
        folded = value.when in ("run", "lone") and getattr(module, "step_mode", "s") != "m"
        if folded and not isinstance(module, nn.Linear):
            flat = isinstance(module, nn.Flatten) and module.start_dim == 2
            if not flat:
                raise UnsupportedError("gets time steps and samples along one axis each; fold time into the batch")
        if isinstance(module, nn.Flatten) and out.shape == tensor.shape:
            self.set(out, value)
            return
        if isinstance(module, nn.Flatten) and not folded and module.start_dim != 1:
            raise UnsupportedError(f"flattens from axis {module.start_dim}; samples are flattened from axis 1")
        self.set(out, self.layer(value, ("module", id(module)), name, lambda: module))

    def _neuron(self, module: nn.Module, name: str, value: Value, given: list[Any], out: Any) -> None:
        if value.factor != 1 or value.when == "sum":
            raise UnsupportedError("gets a signal that was multiplied or added up; put it into the weights")
        seen = self.neurons.get(id(module))
        if seen is None:
            found = read_neuron(module) if not own(module) else Found(module, axis=0)  # type: ignore[arg-type]
            node = self.nodes.add(
                ("neuron", id(module)),
                name,
                lambda free: Node(free, "neuron", (value.node,), found.layer, found.loop),
            )
            seen = self.neurons[id(module)] = Seen(found, node, 0, [])
            if found.notes:
                self.notes[self.nodes.rows[node].name] = found.notes
        if self.nodes.rows[seen.node].sources != (value.node,):
            raise UnsupportedError("is called on two different signals; one module is one population, with one state")
        spikes, *states = list(tensors(out))
        membrane = states[-1] if states else None
        if seen.found.axis is None:
            self._step(seen, value, given, spikes, membrane, states)
            return
        if value.when == "fold":
            ordered = value.axis == 1 if seen.found.axis == "fold" else False
            if not ordered or self.steps is None:
                raise UnsupportedError("gets time and samples folded in another order than it takes them apart")
            run = spikes.unflatten(0, (-1, self.steps)).transpose(0, 1)
        else:
            if value.when != "run" or value.axis != seen.found.axis:
                raise UnsupportedError(
                    f"takes time along axis {seen.found.axis}, and gets {value.when!r}"
                    f"{f' along axis {value.axis}' if value.when == 'run' else ''}"
                )
            run = spikes.transpose(0, value.axis)
        if seen.calls:
            raise UnsupportedError("a layer that runs all time steps is called twice")
        self._count(len(run))
        seen.calls, seen.spikes = len(run), list(run.detach())
        self.set(spikes, replace(value, node=seen.node))

    def _step(
        self, seen: Seen, value: Value, given: list[Any], spikes: Tensor, membrane: Tensor | None, states: list[Tensor]
    ) -> None:
        step = seen.calls
        if value.when not in ("each", "at") or (value.when == "at" and value.step != step):
            when = f"step {value.step}" if value.when == "at" else repr(value.when)
            raise UnsupportedError(f"its call number {step} gets {when}; one call a time step, in order, is expected")
        for state in tensors(given[1:]):
            known = self.value(state)
            if known is None:
                begins = bool((state == seen.found.layer.start.to(state)).all()) if state.numel() else True
                if step or not begins:
                    raise UnsupportedError("gets a state that it did not return; known is a start at its own value")
            elif known.when != "at" or known.step != step - 1 or self._owner(known) != seen.node:
                raise UnsupportedError("gets the state of another layer or step")
        self.set(spikes, Value(seen.node, "at", step))
        for number, state in enumerate(states):
            read = "membrane" if state is membrane else f"state{number}"
            node = self.nodes.add(
                (read, seen.node),
                f"{self.nodes.rows[seen.node].name}_{read}",
                lambda free: Node(free, "membrane", (seen.node,)),
            )
            if state is not spikes:
                self.set(state, Value(node, "at", step))
        seen.calls += 1
        seen.spikes.append(spikes.detach())

    def _owner(self, value: Value) -> int:
        row = self.rows(value)
        return row.sources[0] if row.kind == "membrane" else value.node


def _as_known(module: nn.Module) -> bool:
    """Return whether a module is one of torch's, or SpikingJelly's over several steps, with its forward pass."""
    if not isinstance(module, (*KNOWN, *SKIPPED)) or "forward" in vars(module):
        return False
    maker = next(kind for kind in type(module).__mro__ if "forward" in vars(kind))
    return maker.__module__.partition(".")[0] in ("torch", "spikingjelly")


def _activation(module: nn.Module) -> bool:
    """Return whether a module of torch is a leaf that has no form here, so that it is refused by its own name."""
    inside = type(module).__module__
    if isinstance(module, nn.Unflatten):
        return False
    return (
        inside.startswith("torch.nn.modules")
        and not inside.endswith(("container", "module"))
        and not any(True for _ in module.children())
        and framework(module) is None
    )
