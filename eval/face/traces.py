"""The face's verb for recordings: what a board or another simulator did, against the Program."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.program import Program
from ...toolkit.coding import Coder
from ...toolkit.errors import InputError
from ...toolkit.files import digest, read_bytes
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.train import seeded
from ..agreement.recorded import read_trace, recorded
from ..agreement.trace import compare_trace as compare_recorded
from ..measure.forms import DRAWS
from ..records.trace import TraceComparison
from .measures import header_of


def compare_trace(
    program: Program,
    trace: str | Path | Mapping[str, NDArray[Any]],
    inputs: NDArray[Any] | None = None,
    *,
    coder: Coder | SpikingNetwork | None = None,
    columns: Sequence[str] | None = None,
    clock: bool = False,
) -> TraceComparison:
    """Name the first step and neuron at which a recorded trace parts from the Program.

    Args:
        program: from :func:`.networks.lower` or a file.
        trace: a file (``.npz``, ``.csv``, or ``.safetensors`` of ``simulate --rasters``) or arrays by name:
            ``spikes/POPULATION``, ``u/POPULATION``, ``v/POPULATION`` (time, samples, ...), ``input`` (docs/silicon.md).
        inputs: integer messages (time, batch, ...), for a trace without ``input``; with ``coder``, images in [0, 1].
        coder: makes messages of images; a network's, or the network.
        columns: of a CSV without a first row of names.
        clock: whether rows are steps of one clock, counted from the sample's first; else of each population's window.

    Returns:
        The record; ``equal`` says whether not one value differs, ``first`` where they part.

    Raises:
        InputError: the trace does not fit the Program, or there is no input.
        FileError: a file that cannot be read.
    """
    path = None if isinstance(trace, Mapping) else Path(trace)
    if isinstance(trace, Mapping) and columns is not None:
        raise InputError("compare_trace: columns belong to CSV files")
    arrays = trace if isinstance(trace, Mapping) else read_trace(Path(trace), columns)
    messages = inputs
    if coder is not None and inputs is not None:
        coder = coder.coder if isinstance(coder, SpikingNetwork) else coder
        with seeded(DRAWS):
            messages = coder.integers(np.asarray(inputs))
    found = compare_recorded(
        program,
        recorded(program, arrays),
        None if messages is None else np.asarray(messages),
        clock=clock,
        file=None if path is None else path.name,
        sha256=None if path is None else digest(read_bytes(path)),
    )
    return TraceComparison(**header_of("compare_trace", None, program, clock=clock or None), **dict(found))
