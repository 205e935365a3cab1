"""The width of graded messages."""

import math
from typing import Any

import numpy as np
import pytest

from spikeproof.export.program import Convolution, Graded, Input, Population, Program, Readout
from spikeproof.toolkit.errors import UnsupportedError


def test_the_bits_of_graded_messages_are_counted_where_padding_cuts_the_kernel() -> None:
    ones = Convolution(source="a", target="g", weight=np.full((1, 1, 3, 3), 2), padding=(1, 1))
    neurons = {"du": 4095, "dv": 0, "vth": 1}
    for size, bits in (((2, 2), 4), ((3, 3), 5)):
        shape = (1, *size)
        first = Population(name="a", shape=shape, bias=np.zeros(shape, dtype=np.int32), **neurons)
        last = Population(name="b", shape=shape, bias=np.zeros(shape, dtype=np.int32), **neurons)
        pointwise = {"weight": np.full((1, 1, 1, 1), 2)}
        parts: dict[str, Any] = {
            "input": Input(shape=shape, message_bits=0),
            "synapses": (
                Convolution(source="input", target="a", **pointwise),
                ones,
                Convolution(source="g", target="b", **pointwise),
            ),
            "readout": Readout(population="b"),
            "steps": 2,
        }
        units = Graded(name="g", shape=shape, vth=0, message_bits=bits)
        # 2 x 2: never more than four of the nine weights of 2 meet; 3 x 3: all nine do, in the middle.
        assert Program(**parts, populations=(first, units, last)).peak("g") == 2**bits - 1
        narrow = units.model_copy(update={"message_bits": bits - 1})
        with pytest.raises(UnsupportedError, match=f"sums up to {2 * min(9, math.prod(size))} do not fit messages"):
            Program(**parts, populations=(first, narrow, last))
