"""Target ``netx``: the exported ``.net`` file, loaded and run by lava-dl 0.6.0 itself."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from ...export.formats.netx import unsupported, write_net
from ...export.formats.netx_layers import BIAS_EXPONENT
from ...export.formats.netx_read import NetFile
from ...export.program import Graded, Population, Program
from ...toolkit.errors import TargetError
from ...toolkit.files import atomic, read_bytes
from ..target import CompiledProgram
from .client import Script, Worker, WorkerTarget
from .environment import Kind, environment_python, status


def _prepare(folder: Path, program: Program) -> dict[str, Any]:
    """Write the job's file; return what the worker needs to find populations in its layers."""
    net = write_net(folder / "network.net", program)
    layers = [
        {
            "depth": layer.depth,
            "shape": layer.shape,
            "transform": "file" if layer.kind == "input" and layer.du is not None else None,
            "members": [{**asdict(member), "shape": program.shape_of(member.name)} for member in layer.members],
        }
        for layer in net.layers
    ]
    loops = any(layer.loops is not None for layer in net.layers)
    return {"layout": {"message_bits": net.message_bits, "loops": loops, "layers": layers, "only": None}}


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


def _layout(net: NetFile) -> dict[str, Any]:
    """Return what the worker needs to find the populations of a file that was read, in the importer's layers."""
    program = net.loaded
    first = program.populations[0]
    layers: list[dict[str, Any]] = []
    if not net.stages[0].coded:
        layers.append({"depth": 0, "shape": program.input.shape, "transform": None, "members": []})
    for stage in net.stages:
        size = int(np.prod(stage.shape))
        member = {"name": stage.name, "start": 0, "size": size, "relay": False, "shape": stage.shape}
        layers.append({"depth": stage.depth, "shape": stage.shape, "transform": None, "members": [member]})
    if net.stages[0].coded and not isinstance(first, Graded):
        # A message is added to the mantissa here, and to one of exponent 6 there; Delta takes it as it is.
        more = first.bias_exponent - BIAS_EXPONENT if isinstance(first, Population) else 0
        layers[0]["transform"] = (2**more, int(first.bias.flat[0]) << more)
    # One sample at a time where something would still be under way when the next one comes, or nothing resets neurons.
    late = any(program.lag(synapse) for synapse in program.synapses)
    held = program.recurrent or late or bool(program.sigma_delta)
    return {"message_bits": program.input.message_bits, "loops": held, "layers": layers, "only": net.loadable}


def file_script(files: Mapping[str, tuple[Path, NetFile]]) -> Script:
    """Return what workers run to load ``.net`` files themselves, by the SHA-256 of the Program read from each."""

    def prepare(folder: Path, program: Program) -> dict[str, Any]:
        path, net = files[program.sha256()]
        with atomic(folder / "network.net") as temporary:
            temporary.write_bytes(read_bytes(path))
        return {"layout": _layout(net)}

    return Script("netx", NETX.path, prepare)


def compile_file(path: Path, net: NetFile, workers: int = 1) -> CompiledProgram:
    """Return a ``.net`` file itself, of any origin, ready to run on lava-dl's importer: nothing of it is written anew.

    Its populations are those of :attr:`~..export.formats.netx_read.NetFile.loaded`.

    Args:
        path: the file.
        net: what was read from it.
        workers: processes side by side.

    Raises:
        TargetError: lava-dl is not installed.
        UnsupportedError: its importer does not even load the first layers.
    """
    python = environment_python("netx")
    if python is None:
        raise TargetError(f"target 'netx': {status('netx').how}")
    script = file_script({net.loaded.sha256(): (path, net)})
    return Worker(net.loaded, script=script, python=python, workers=workers, start_limit=90, run_limit=600)
