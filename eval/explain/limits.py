"""What a Program's integers say without a network: where they round, and which ranges they could leave."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...export.program import Program, Synapse
from ...export.program.parts import Convolution, Graded, Population
from ...hw_targets.loihi.arithmetic import LIMIT
from ...toolkit.errors import UnsupportedError
from .model import Cells, Field, Model

Numbers = NDArray[Any]


def tensor(values: Any) -> Tensor:
    """Return float64, which holds all of the chip's integers exactly."""
    return torch.from_numpy(np.array(values, dtype=np.float64))


def in_sums(synapse: Synapse) -> Numbers:
    """Return the weights of a synapse in units of its target's sum, 2^exponent W."""
    return np.asarray(synapse.weight * 2.0**synapse.exponent)


def as_it_is(population: Population) -> Cells:
    """Return a population that stands for itself."""
    return Cells(
        Field(tensor((4095 - population.du) / 4096)),
        Field(tensor((4096 - population.dv) / 4096)),
        Field(tensor(64 * population.vth)),
        Field(tensor(population.bias.astype(np.int64) << population.bias_exponent)),
        drive=2.0**population.bias_exponent if population.input_bias else 0.0,
    )


def floors(synapse: Synapse) -> Iterator[str]:
    """Yield what shows that a synapse's sums are rounded."""
    if (in_sums(synapse) % 1).any():
        yield f"{synapse.label}: exponent {synapse.exponent} floors its sums"


def decays(name: str, field: str, decay: int) -> Iterator[str]:
    """Yield what shows that a state is rounded when it decays; ``field`` is "du" or "dv"."""
    if 0 < decay < 4096:
        yield f"population {name!r}: {field} decays toward zero"


def limits(program: Program) -> Iterator[tuple[str, str]]:
    """Yield (code of a cause, evidence) for the ranges of the chip that sums and membranes could leave at all."""
    for population in program.populations:
        if not isinstance(population, Population):
            continue
        incoming = list(program.incoming(population.name))
        sums = [program.bound(one) * 2.0**one.exponent for one in incoming]
        keep = (4095 - population.du) / 4096
        current = 64 * sum(sums) * (min(1 / (1 - keep), program.steps) if keep < 1 else program.steps)
        convolved = [
            one for one in incoming if isinstance(one, Convolution) and not one.exponent and program.bound(one) >= LIMIT
        ]
        if current >= LIMIT or convolved:
            yield (
                "current_wrap",
                f"population {population.name!r}: sums of up to {sum(sums):,.0f}; the current wraps at {LIMIT // 64:,}",
            )
        bias = float(np.abs(population.bias).max()) * 2.0**population.bias_exponent
        if population.input_bias:
            bias += program.input.peak * 2.0**population.bias_exponent
        hold = population.dv / 4096
        most = (min(current, LIMIT) + bias) * (min(1 / hold, program.steps) if hold else program.steps)
        if most >= LIMIT:
            yield "voltage_clip", f"population {population.name!r}: voltages of up to {most:,.0f} of {LIMIT:,}"


def alone(program: Program) -> Model:
    """Return a Program beside what its integers would compute if nothing were rounded and no range ended.

    Raises:
        UnsupportedError: it has a population of a kind that is not known in real numbers.
    """
    evidence: dict[str, list[str]] = {}
    for population in program.populations:
        if not isinstance(population, Population | Graded):
            raise UnsupportedError(
                f"population {population.name!r}: 'explain' has no real numbers for a {type(population).__name__}"
            )
    for synapse in program.synapses:
        for text in floors(synapse):
            evidence.setdefault("sum_rounding", []).append(text)
    for spiking in program.spiking:
        for field, decay in (("du", spiking.du + 1), ("dv", spiking.dv)):
            for text in decays(spiking.name, field, decay):
                evidence.setdefault("state_rounding", []).append(text)
    for code, text in limits(program):
        evidence.setdefault(code, []).append(text)
    return Model(
        program,
        program,
        tuple(Field(tensor(in_sums(synapse))) for synapse in program.synapses),
        {spiking.name: as_it_is(spiking) for spiking in program.spiking},
        {code: tuple(texts) for code, texts in evidence.items()},
    )
