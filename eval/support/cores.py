"""What runs on Xylo's one core, found by asking: small Programs of profile ``xylo``, each with one construct."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...export.program import Input, Program, Readout, Shifted, Shifting
from .asked import Answer, everywhere


def _neurons(name: str, size: int, **options: Any) -> Shifting:
    values: dict[str, Any] = {"vth": 40, "dash_syn": (1,), "dash_mem": 2, "bias": np.zeros(size, dtype=np.int32)}
    return Shifting(name=name, shape=(size,), **{**values, **options})


def _weights(source: str, target: str, size: tuple[int, int], **options: Any) -> Shifted:
    return Shifted(source=source, target=target, weight=np.arange(size[0] * size[1]).reshape(size) % 41 - 9, **options)


def _program(*more: Shifted, a: Any = None, b: Any = None, bits: int = 0, readout: Any = "spike_count") -> Program:
    """Input (5,) -> a (6,) -> b (4,), and other synapses."""
    return Program(
        input=Input(shape=(5,), message_bits=bits),
        populations=(_neurons("a", 6, **(a or {})), _neurons("b", 4, most=1, **(b or {}))),
        synapses=(_weights("input", "a", (6, 5)), _weights("a", "b", (4, 6)), *more),
        readout=Readout(population="b", kind=readout),
        steps=5,
        profile="xylo",
    )


PROGRAMS: dict[str, Callable[[], Program]] = {
    "dense synapses, leaks by bit shifts, reset by subtraction": _program,
    "up to 15 spikes an input channel": lambda: _program(bits=4),
    "recurrent synapses": lambda: _program(_weights("a", "a", (6, 6))),
    "weight shifts": lambda: _program(_weights("a", "a", (6, 6), exponent=3)),
    "bias a neuron": lambda: _program(a={"bias": np.arange(6)}),
    "two synaptic currents a neuron": lambda: _program(
        _weights("input", "a", (6, 5), port=1), _weights("a", "a", (6, 6), port=1), a={"dash_syn": (1, 4)}
    ),
    "read-out by membrane": lambda: _program(readout="membrane"),
    "two synaptic currents of a read-out neuron": lambda: _program(b={"dash_syn": (1, 2)}),
    "synapses from the read-out back": lambda: _program(_weights("b", "a", (6, 4))),
    "input straight to the read-out": lambda: _program(_weights("input", "b", (4, 5))),
}


def programs() -> list[Answer]:
    """Return for every construct where it runs: each target of profile ``xylo``, and each chip of the family."""
    return [answer for construct, make in PROGRAMS.items() for answer in everywhere(construct, make())]
