"""Target ``onnx``: the Program's ONNX form in ONNX Runtime."""

from pathlib import Path
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from ..export.program import Program
from ..toolkit.errors import MissingExtraError, TargetError
from ..toolkit.extras import extra
from ..toolkit.progress import Track
from .target import Compiled, CompiledProgram, Raster, Target, Trace


class _Session(CompiledProgram):
    def __init__(self, program: Program, model: bytes) -> None:
        super().__init__(program)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no public base class
            raise TargetError(f"target 'onnx': ONNX Runtime refused the model: {error}") from error

    def _run(self, inputs: NDArray[np.int32], rasters: bool, track: Track) -> Trace:
        names = [population.name for population in self.program.populations]
        wanted = ["output", *(f"spikes/{name}" for name in names)]
        if rasters:
            wanted += [f"{what}/{population.name}" for population in self.program.stateful for what in "uv"]
        messages = np.ascontiguousarray(inputs, dtype=np.int32)
        try:
            found = dict(zip(wanted, self.session.run(wanted, {"messages": messages}), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions have no public base class
            raise TargetError(f"target 'onnx': ONNX Runtime failed: {error}") from error
        return Trace(
            found["output"],
            {name: (found[f"spikes/{name}"] != 0).sum(0, dtype=np.int64) for name in names},
            None,
            {name: Raster(found[f"spikes/{name}"], found.get(f"u/{name}"), found.get(f"v/{name}")) for name in names}
            if rasters
            else {},
        )


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

        model = to_onnx(program).SerializeToString() if self.path is None else read_onnx(self.path, program)
        return _Session(program, model)
