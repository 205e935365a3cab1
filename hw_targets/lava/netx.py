"""Target ``netx``: the exported ``.net`` file, loaded and run by lava-dl 0.6.0 itself."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, final

from ...export.formats.netx import unsupported, write_net
from ...export.program import Program
from .client import Script, WorkerTarget
from .environment import Kind


def _prepare(folder: Path, program: Program) -> dict[str, Any]:
    """Write the job's file; return what the worker needs to find populations in its layers."""
    net = write_net(folder / "network.net", program)
    layers = [
        {
            "depth": layer.depth,
            "shape": layer.shape,
            "transform": layer.transform if layer.kind == "input" and layer.du is not None else None,
            "members": [{**asdict(member), "shape": program.shape_of(member.name)} for member in layer.members],
        }
        for layer in net.layers
    ]
    loops = any(layer.loops is not None for layer in net.layers)
    return {"layout": {"message_bits": net.message_bits, "loops": loops, "layers": layers}}


NETX = Script("netx", Path(__file__).with_name("worker_netx.py"), _prepare)


@final
class NetxTarget(WorkerTarget):
    """The importer of lava-dl; settings as of :class:`.client.WorkerTarget`."""

    name: ClassVar[str] = "netx"
    summary: ClassVar[str] = "lava-dl 0.6.0's importer running the exported .net file, Python 3.10 worker process"
    kind: ClassVar[Kind] = "netx"
    script: ClassVar[Script] = NETX

    def unsupported(self, program: Program) -> list[str]:
        """Return the reasons why ``program`` has no exact form that the importer can load."""
        return unsupported(program)
