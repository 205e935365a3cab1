"""Target ``onnx``: the Program's ONNX form in ONNX Runtime."""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray

from ..export.program import Program
from ..toolkit.errors import MissingExtraError, TargetError
from ..toolkit.extras import extra
from ..toolkit.progress import Track
from .target import Compiled, CompiledProgram, Raster, Target, Trace, join

AT_ONCE = 2**20
"""Neurons of the widest population times steps times samples that run at once: what is under way stays in caches."""


class _Session(CompiledProgram):
    def __init__(self, program: Program, model: bytes) -> None:
        super().__init__(program)
        self.model = model
        self.names = [population.name for population in program.populations]
        self.states = [f"{what}/{population.name}" for population in program.stateful for what in "uv"]
        widest = max(int(np.prod(shape)) for shape in (program.input.shape, *(p.shape for p in program.populations)))
        self.batch = max(1, AT_ONCE // (widest * program.steps))
        # Whichever of the two is used first tells what ONNX Runtime thinks of the model.
        self.session = self._start(self._bare())

    def _bare(self) -> bytes:
        from ..export.formats.onnx import without

        return without(self.model, self.states)

    @cached_property
    def full(self) -> Any:
        """The session that has u and v of every step among its outputs, and computes them."""
        return self._start(self.model)

    def _start(self, model: bytes) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no public base class
            raise TargetError(f"target 'onnx': ONNX Runtime refused the model: {error}") from error

    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace:
        starts = range(0, inputs.shape[1], self.batch)
        parts = track(starts, "run on onnx", len(starts)) if len(starts) > 1 else starts
        return join([self._part(inputs[:, start : start + self.batch], rasters) for start in parts])

    def _part(self, inputs: NDArray[np.int32], rasters: bool) -> Trace:
        wanted = ["output", *(f"spikes/{name}" for name in self.names), *(self.states if rasters else ())]
        session = self.full if rasters else self.session
        try:
            found = dict(zip(wanted, session.run(wanted, {"messages": np.ascontiguousarray(inputs)}), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions have no public base class
            raise TargetError(f"target 'onnx': ONNX Runtime failed: {error}") from error
        return Trace(
            found["output"],
            {name: _counts(found[f"spikes/{name}"]) for name in self.names},
            None,
            {
                name: Raster(found[f"spikes/{name}"], found.get(f"u/{name}"), found.get(f"v/{name}"))
                for name in self.names
            }
            if rasters
            else {},
        )


def _counts(spikes: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many of (time, batch, ...) are not 0, over time; bytes are added as bytes, which is much faster."""
    sent = np.asarray(spikes != 0).view(np.uint8)
    return np.asarray(sent.sum(0, dtype=np.uint8 if len(sent) < 256 else np.int64), dtype=np.int64)


@final
class OnnxTarget(Target[Program]):
    """ONNX Runtime on the CPU.

    Args:
        path: run this file, after checking that it belongs to the Program, instead of building the model anew.
    """

    name: ClassVar[str] = "onnx"
    summary: ClassVar[str] = "standard ONNX operators in ONNX Runtime, CPU"

    def __init__(self, *, path: Path | None = None) -> None:
        self.path = path

    def unavailable(self) -> str | None:
        """Return how to get ONNX Runtime, or None if it is here."""
        try:
            with extra("onnx"):
                import onnxruntime  # noqa: F401
        except MissingExtraError as error:
            return str(error)
        return None

    def unsupported(self, program: Program) -> list[str]:
        """Return reasons for sums that float32 products could not keep exact."""
        from ..export.formats.onnx import unsupported

        return unsupported(program)

    def _compile(self, program: Program) -> Compiled:
        from ..export.formats.onnx import read_onnx, to_onnx

        return _Session(
            program, to_onnx(program).SerializeToString() if self.path is None else read_onnx(self.path, program)
        )
