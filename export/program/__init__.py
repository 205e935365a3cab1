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
    Neurons,
    Population,
    Readout,
    SigmaDelta,
    Sparse,
    Synapse,
)
from .program import Program, read_program, write_program

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
    "SigmaDelta",
    "Sparse",
    "Synapse",
    "read_program",
    "write_program",
]
