"""Choosing exponents, threshold and bias that fit Loihi's fields."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import UnsupportedError
from ..program.parts import BIAS_EXPONENT_MAX, BIAS_MANTISSA, VTH_MAX, WEIGHT_EXPONENT
from .paths import Floats
from .wires import Wire


@dataclass(frozen=True)
class Fields:
    """Integers of a population and of the synapses into it.

    Attributes:
        exponents: of each synapse.
        vth: threshold mantissa.
        bias_exponent: of the population.
        mantissa: bias a neuron.
    """

    exponents: tuple[int, ...]
    vth: int
    bias_exponent: int
    mantissa: NDArray[np.int64]


@dataclass(frozen=True)
class Wanted:
    """What a population is, in real numbers.

    Attributes:
        name: for messages.
        threshold: None if it never fires and only its membrane is read.
        bias: added to the membrane in each step, a neuron.
        sums: how many inputs of one step the current can pile up, 1 / (share lost a step).
        holds: how many currents the membrane can pile up.
    """

    name: str
    threshold: float | None
    bias: Floats
    sums: float
    holds: float


def choose(wanted: Wanted, wires: Sequence[Wire], peaks: Sequence[int], lowest: int = 0) -> Fields:
    """Choose the weight exponents nearest to 0 at which current, threshold and bias all fit their fields.

    One unit of the summed input is worth the finest wire's unit times 2^k, k = 0...8; the exponents follow from it.
    vth = round(threshold / unit); mantissa 2^exponent = round(64 bias / unit) with the smallest exponent that fits.

    Args:
        wanted: the population.
        wires: into it, with integer weights.
        peaks: the largest message of each wire's source.
        lowest: the smallest bias exponent.

    Raises:
        UnsupportedError: no exponents fit; the last obstacle is named.
    """
    finest = min(one.unit for one in wires)
    ratios = [math.log2(one.unit / finest) for one in wires]
    if any(abs(ratio - round(ratio)) > 1e-6 for ratio in ratios):
        names = ", ".join(repr(one.path.weights[0] if one.path.weights else one.path.source) for one in wires)
        raise UnsupportedError(
            f"node {wanted.name!r}: {names} meet here, but the worth of a unit of their weights differs by 2^{ratios}; "
            "give them steps that differ by a power of two (input of n bits divides by 2^n - 1)"
        )
    why = ""
    for k in range(-WEIGHT_EXPONENT[0] + 1):
        unit = finest * 2.0**k
        exponents = tuple(round(ratio) - k for ratio in ratios)
        peak = sum(math.floor(one.sides * top * 2.0**e) for one, top, e in zip(wires, peaks, exponents, strict=True))
        real = 64 * wanted.bias / unit
        largest = float(np.abs(real).max(initial=0.0))
        bias_exponent = max(lowest, math.ceil(math.log2(largest / BIAS_MANTISSA[1]))) if largest else lowest
        vth = VTH_MAX if wanted.threshold is None else round(wanted.threshold / unit)
        if min(exponents) < WEIGHT_EXPONENT[0] or max(exponents) > WEIGHT_EXPONENT[1]:
            why = why or f"the weights that meet here span 2^{max(exponents) - min(exponents)}, too much for exponents"
        elif peak * 64 * wanted.sums >= 2**23:
            why = f"a synaptic sum of {peak} would wrap the 24-bit current"
        elif wanted.threshold is None and (peak * 64 * wanted.sums + largest) * wanted.holds >= 64 * VTH_MAX:
            why = "the membrane that is read could saturate"
        elif wanted.threshold is not None and not 1 <= vth <= VTH_MAX:
            why = f"threshold {wanted.threshold:g} is {wanted.threshold / unit:g} units, allowed are 1 to {VTH_MAX}"
        elif bias_exponent > BIAS_EXPONENT_MAX:
            why = f"bias {float(np.abs(wanted.bias).max()):g} does not fit 13 bits times 2^{BIAS_EXPONENT_MAX}"
        else:
            # Rounding may push a mantissa to 4096, one beyond the field; the nearest it can hold is 4095.
            mantissa = np.clip(np.rint(real / 2**bias_exponent), *BIAS_MANTISSA).astype(np.int64)
            return Fields(exponents, vth, bias_exponent, mantissa)
    raise UnsupportedError(f"node {wanted.name!r}: {why}; use fewer weight bits, smaller biases or a larger threshold")


def choose_input_bias(wanted: Wanted, gain: float, peak: int) -> Fields:
    """Choose the bias exponent of a population whose only input is bias-coded: the largest at which all fits.

    A message adds 2^exponent to v, so unit = 64 gain / 2^exponent.

    Args:
        wanted: the population.
        gain: what the membrane gains from a message of 1.
        peak: the largest message.

    Raises:
        UnsupportedError: none fits.
    """
    for exponent in range(BIAS_EXPONENT_MAX, -1, -1):
        unit = 64 * gain / 2**exponent
        mantissa = np.rint(wanted.bias * 64 / unit / 2**exponent).astype(np.int64)
        high, low = int(mantissa.max()) + peak, int(mantissa.min())
        vth = VTH_MAX if wanted.threshold is None else round(wanted.threshold / unit)
        enough = wanted.threshold is not None or max(high, -low) * 2**exponent * wanted.holds < 64 * VTH_MAX
        if low >= BIAS_MANTISSA[0] and high <= BIAS_MANTISSA[1] and 1 <= vth <= VTH_MAX and enough:
            return Fields((), vth, exponent, mantissa)
    raise UnsupportedError(
        f"node {wanted.name!r}: bias-coded input up to {peak}, threshold and bias do not fit 13 bits and 17 bits "
        "together; use fewer input bits"
    )
