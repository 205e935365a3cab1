"""Target ``netx``: the exported ``.net`` file, loaded and run by lava-dl 0.6.0 itself."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, final

from ...export.netx import unsupported, write_net
from ...export.program import Program
from ..target import Compiled, Target
from .client import Script, Worker
from .environment import environment_python, status


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
class NetxTarget(Target[Program]):
    """The importer of lava-dl, one sample at a time.

    Args:
        workers: processes side by side, each of which starts two for every layer; by default as many as there are
            cores, 4 at most.
        start_limit: seconds until the worker must have imported lava-dl.
        run_limit: seconds until it must have run up to 16 samples.
        python: interpreter with lava-dl; the installed environment's by default.
    """

    name: ClassVar[str] = "netx"
    summary: ClassVar[str] = "lava-dl 0.6.0's importer running the exported .net file, Python 3.10 worker process"
    slow: ClassVar[bool] = True

    def __init__(
        self, *, workers: int | None = None, start_limit: float = 90, run_limit: float = 600, python: Path | None = None
    ) -> None:
        self.workers = workers or min(os.cpu_count() or 1, 4)
        self.start_limit = start_limit
        self.run_limit = run_limit
        self.python = python or environment_python("netx")

    def unavailable(self) -> str | None:
        """Return how to install lava-dl if it is not."""
        return None if self.python is not None else status("netx").how

    def unsupported(self, program: Program) -> list[str]:
        """Return the reasons why ``program`` has no exact form that the importer can load."""
        return unsupported(program)

    def _compile(self, program: Program) -> Compiled:
        assert self.python is not None
        return Worker(
            program,
            script=NETX,
            python=self.python,
            workers=self.workers,
            start_limit=self.start_limit,
            run_limit=self.run_limit,
        )
