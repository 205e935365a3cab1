"""Whether the Program of a NIR file, or one by itself, fits a chip."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...export.chip import CHIPS
from ...export.chip.mapper import MAPPERS
from ...export.program import read_program
from ...toolkit.errors import InputError
from ...toolkit.quantize import Bits
from ..fit import fit as place
from ..records.base import Data, command_line, header
from ..records.fit import Fit
from .foreign import Told, bits_text
from .nir_file import lower_nir

PROGRAM = ".safetensors"


@dataclass(frozen=True)
class Fitted:
    """What was found.

    Attributes:
        record: where each layer lies.
        warnings: of the linter.
    """

    record: Fit
    warnings: list[str]


def fit_file(
    file: Path,
    told: Told,
    *,
    chip: str = "loihi1",
    mapper: str = "partition",
    data: Path | None = None,
    steps: int | None = None,
    bits: Bits | None = None,
    input_bits: int | None = None,
    samples: int = 8,
) -> Fitted:
    """Lower a NIR file as ``nir evaluate`` does, and place its Program on a chip; or a Program's own file.

    Args:
        file: the graph, or a Program.
        told: what is known of a graph's file beyond itself.
        chip: whose limits.
        mapper: how cores are filled.
        data: an ``.npz`` with samples, on which split and whole Program must agree; without, nothing is run.
        steps: time steps a sample.
        bits: a weight, 8 by default: of all nodes, or by node.
        input_bits: of an input message.
        samples: the first so many of ``data``.

    Raises:
        InputError: something is missing or does not fit.
        UnsupportedError: the graph has no exact form.
        DisagreementError: split and whole Program differ.
    """
    CHIPS.get(chip)
    if mapper not in MAPPERS:
        raise InputError(f"--mapper {mapper}: unknown; choose {' or '.join(MAPPERS)}")
    warnings: list[str] = []
    about_data = None
    if file.suffix == PROGRAM:
        others = {"--data": data, "--steps": steps, "--bits": bits, "--input-bits": input_bits}
        wrong = [name for name, value in others.items() if value is not None]
        if wrong or told != Told():
            raise InputError(
                f"{file}: a Program; {wrong[0] if wrong else 'what a NIR file means'} belongs to NIR files"
            )
        program = read_program(file)
        messages = np.zeros((program.steps, 0, *program.input.shape), dtype=np.int32)
    else:
        made = lower_nir(
            file,
            told,
            data=data if samples else None,
            steps=steps,
            bits=bits,
            input_bits=input_bits,
            samples=samples or None,
        )
        program, warnings = made.program, made.warnings
        messages = np.zeros((program.steps, 0, *program.input.shape), dtype=np.int32)
        if made.given is not None and data is not None:
            messages = made.given.messages(slice(None)).reshape(program.steps, -1, *program.input.shape)
            about_data = Data(name=data.name, sha256=made.given.sha256, test=messages.shape[1])
    typed = command_line(
        "fit",
        file.name,
        chip=chip,
        mapper=mapper,
        data=None if data is None else data.name,
        steps=steps,
        bits=bits_text(bits),
        input_bits=input_bits,
        samples=samples if data is not None else None,
        **asdict(told),
    )
    about = header(file.name, typed, program=program) | {"data": about_data}
    return Fitted(place(program, chip, mapper, messages, about), warnings)
