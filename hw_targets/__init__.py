"""Targets that run a network: float PyTorch, exact Loihi integers, ONNX Runtime, Lava."""

from typing import TYPE_CHECKING, Any

from ..toolkit.errors import TargetError
from ..toolkit.registry import Registry

if TYPE_CHECKING:
    from .target import Target

TARGETS: "Registry[type[Target[Any]]]" = Registry(
    "target",
    __name__,
    {
        "torch": "torch:TorchTarget",
        "loihi": "loihi.simulator:LoihiTarget",
        "twin": "twin:TwinTarget",
        "onnx": "onnx:OnnxTarget",
        "lava": "lava.client:LavaTarget",
        "netx": "lava.netx:NetxTarget",
    },
    base="target:Target",
    failure=TargetError,
)
