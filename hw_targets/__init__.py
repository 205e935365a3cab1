"""Targets that run a network: float PyTorch, exact integers of Loihi and Xylo, ONNX Runtime, C, Lava, xylosim."""

from typing import Any

from ..toolkit.errors import TargetError
from ..toolkit.registry import Registry

# Not typed as targets: their contract imports this table, and nothing imports in a circle.
TARGETS: Registry[Any] = Registry(
    "target",
    __name__,
    {
        "torch": "torch:TorchTarget",
        "loihi": "loihi.simulator:LoihiTarget",
        "twin": "twin:TwinTarget",
        "onnx": "onnx:OnnxTarget",
        "c": "c.target:CTarget",
        "lava": "lava.client:LavaTarget",
        "netx": "lava.netx:NetxTarget",
        "xylo": "xylo.simulator:XyloTarget",
        "xylosim": "xylo.simulator:XylosimTarget",
    },
    base="target:Target",
    failure=TargetError,
)
