"""The Program: a network as integers, its parts, and its file."""

from .parts import (
    BIAS_EXPONENT_MAX,
    BIAS_MANTISSA,
    DELAY_MAX,
    VTH_MAX,
    WEIGHT_EXPONENT,
    Convolution,
    Dense,
    Graded,
    Input,
    Integers,
    Population,
    Readout,
    SigmaDelta,
    Sparse,
)
from .program import Neurons, Program, Synapse, read_program, write_program
from .shifting import Shifted, Shifting

__all__ = [
    "BIAS_EXPONENT_MAX",
    "BIAS_MANTISSA",
    "DELAY_MAX",
    "VTH_MAX",
    "WEIGHT_EXPONENT",
    "Convolution",
    "Dense",
    "Graded",
    "Input",
    "Integers",
    "Neurons",
    "Population",
    "Program",
    "Readout",
    "Shifted",
    "Shifting",
    "SigmaDelta",
    "Sparse",
    "Synapse",
    "read_program",
    "write_program",
]
