"""A trained network of ReLU as a graph of modules alone: what SpikingJelly's converter takes."""

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from ..errors import UnsupportedError

KEPT = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.AvgPool2d, nn.MaxPool2d)
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_ADDS = (operator.add, operator.iadd, torch.add)
KNOWN = "Conv2d, Linear, batch norm, ReLU, average and max pools, flatten, dropout and residual additions"


class _Flat:
    """Writes the modules of a traced network, one for each call, into a new graph."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.modules = dict(traced.named_modules())
        self.graph, self.root = fx.Graph(), nn.Module()
        self.nodes: dict[fx.Node, fx.Node] = {}
        self.late: set[fx.Node] = set()

    def call(self, node: fx.Node, module: nn.Module, given: fx.Node, *more: nn.Module) -> None:
        """Append a module that stands for a node, or several in a row.

        A ReLU goes behind a max pool, which is the same, and nearer to it in spikes: an OR of them is no maximum of
        rates.
        """
        if isinstance(module, nn.ReLU) and len(node.users) == 1 and self._max_pool(*node.users):
            self.late.add(node)
            self.skip(node, given)
            return
        more = (*more, nn.ReLU()) if given in self.late else more
        sent = self.nodes[given]
        for number, each in enumerate((module, *more)):
            name = node.name if number == 0 else f"{node.name}_{number}"
            self.root.add_module(name, each)
            sent = self.graph.call_module(name, (sent,))
            sent.meta["shape"] = tuple(node.meta["tensor_meta"].shape)
        self.nodes[node] = sent

    def skip(self, node: fx.Node, given: fx.Node) -> None:
        """Let a node be what it receives."""
        self.nodes[node] = self.nodes[given]

    def _max_pool(self, node: fx.Node) -> bool:
        made = self.modules.get(str(node.target)) if node.op == "call_module" else _LIKE.get(_name(node))
        return isinstance(made, nn.MaxPool2d) or made is nn.MaxPool2d

    def node(self, node: fx.Node) -> None:
        """Append one node.

        Raises:
            UnsupportedError: it has no counterpart in spikes; by name.
        """
        if node.op == "placeholder":
            self.nodes[node] = self.graph.placeholder(node.name)
            self.nodes[node].meta["shape"] = tuple(node.meta["tensor_meta"].shape)
        elif node.op == "output":
            if not isinstance(node.args[0], fx.Node):
                raise UnsupportedError("convert: the network returns several tensors, expected logits alone")
            self.graph.output(self.nodes[node.args[0]])
        elif node.op == "call_module":
            self._module(node, self.modules[str(node.target)])
        elif node.op in ("call_function", "call_method"):
            self._function(node)
        else:
            raise UnsupportedError(f"convert: {node.name!r} reads a parameter by itself; put it into a layer")

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        given = node.args[0]
        assert isinstance(given, fx.Node)
        if isinstance(module, _NOTHING):
            self.skip(node, given)
        elif type(module) in KEPT:
            self.call(node, copy.deepcopy(module), given)
        elif isinstance(module, nn.Flatten) and module.start_dim == 1 and module.end_dim == -1:
            self._flatten(node, given)
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            self._adaptive(node, given, module.output_size)
        else:
            raise _unknown(node, type(module).__name__)

    def _function(self, node: fx.Node) -> None:
        name = _name(node)
        tensors = [part for part in node.args if isinstance(part, fx.Node)]
        if name in ("size", "getattr", "getitem") and _only_shapes(node):
            return
        if node.target in (*_ADDS, "add", "add_") and len(tensors) == 2 and len(node.args) == 2 and not node.kwargs:
            shapes = [part.meta["tensor_meta"].shape for part in tensors]
            if shapes[0] != shapes[1]:
                raise _unknown(node, f"an addition of shapes {tuple(shapes[0])} and {tuple(shapes[1])}")
            self.nodes[node] = self.graph.call_function(operator.add, tuple(self.nodes[part] for part in tensors))
            self.nodes[node].meta["shape"] = tuple(node.meta["tensor_meta"].shape)
            return
        given = tensors[0] if tensors else None
        if given is None or given not in self.nodes:
            raise _unknown(node, name)
        made = _LIKE.get(name)
        if made is not None:
            self.call(node, made(*node.args[1:], **_named(node)), given)
        elif name in ("flatten", "view", "reshape") and _flattens(node, given):
            self._flatten(node, given)
        elif name in ("dropout", "dropout2d", "contiguous"):
            self.skip(node, given)
        elif name == "adaptive_avg_pool2d":
            self._adaptive(node, given, node.args[1] if len(node.args) > 1 else node.kwargs["output_size"])
        elif name == "mean" and _all_places(node, given):
            self._adaptive(node, given, 1, flat=len(node.meta["tensor_meta"].shape) == 2)
        else:
            raise _unknown(node, name)

    def _flatten(self, node: fx.Node, given: fx.Node) -> None:
        if len(given.meta["tensor_meta"].shape) == 2:
            self.skip(node, given)
        else:
            self.call(node, nn.Flatten(), given)

    def _adaptive(self, node: fx.Node, given: fx.Node, size: Any, flat: bool = False) -> None:
        planes = given.meta["tensor_meta"].shape[-2:]
        sizes = [size, size] if isinstance(size, int) else size
        wanted = [plane if n is None else n for n, plane in zip(sizes, planes, strict=True)]
        if any(plane % n for n, plane in zip(wanted, planes, strict=True)):
            raise _unknown(node, f"adaptive pooling of {tuple(planes)} to {tuple(wanted)}")
        kernel = int(planes[0] // wanted[0]), int(planes[1] // wanted[1])
        self.call(node, nn.AvgPool2d(kernel), given, *([nn.Flatten()] if flat else []))


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _named(node: fx.Node) -> dict[str, Any]:
    return {name: value for name, value in node.kwargs.items() if name not in ("input", "inplace")}


_LIKE: dict[str, Callable[..., nn.Module]] = {
    "relu": lambda *_, **__: nn.ReLU(),
    "relu_": lambda *_, **__: nn.ReLU(),
    "max_pool2d": nn.MaxPool2d,
    "boolean_dispatch": nn.MaxPool2d,  # what torch calls F.max_pool2d when it is traced
    "avg_pool2d": nn.AvgPool2d,
}


def _flattens(node: fx.Node, given: fx.Node) -> bool:
    before, after = given.meta["tensor_meta"].shape, node.meta["tensor_meta"].shape
    return len(after) == 2 and before[0] == after[0]


def _all_places(node: fx.Node, given: fx.Node) -> bool:
    """Return whether a mean is the one over height and width."""
    dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    planes = len(given.meta["tensor_meta"].shape) == 4 and isinstance(dims, tuple | list)
    return planes and sorted(dim % 4 for dim in dims) == [2, 3]


def _only_shapes(node: fx.Node) -> bool:
    """Return whether what a node gives is used to reshape only."""
    return "tensor_meta" not in node.meta


def _unknown(node: fx.Node, what: str) -> UnsupportedError:
    return UnsupportedError(f"convert: {node.name!r} ({what}) has no counterpart in spikes; known are {KNOWN}")


def flat(ann: nn.Module, sample: Tensor) -> fx.GraphModule:
    """Return a copy of a network as a graph of :data:`KEPT` modules, flatten and additions, in evaluation mode.

    Args:
        ann: any module that torch.fx can trace; not changed.
        sample: (batch, ...), for the shapes.

    Raises:
        UnsupportedError: it cannot be traced, or a layer has no counterpart in spikes; by name.
    """
    ann = copy.deepcopy(ann).eval()
    try:
        traced = fx.symbolic_trace(ann)
    except Exception as error:  # whatever the user's own code raises when it meets a proxy
        raise UnsupportedError(
            f"convert: the network cannot be traced ({type(error).__name__}: {error}); it must do the same for "
            "every input"
        ) from error
    with torch.no_grad():
        ShapeProp(traced).propagate(sample)
    made = _Flat(traced)
    for node in traced.graph.nodes:
        made.node(node)
    found = fx.GraphModule(made.root, made.graph).eval()
    with torch.no_grad():
        wanted, got = ann(sample), found(sample)
    if not torch.allclose(wanted, got, rtol=1e-4, atol=1e-5 * float(wanted.abs().max())):
        raise UnsupportedError("convert: written as a graph of layers the network gives other outputs; simplify it")
    return found
