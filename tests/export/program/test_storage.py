"""What the golden vectors (tests/hw_targets/loihi/test_golden.py) cannot show: laws, shapes, refusals."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from spikeproof.export.program import Dense
from spikeproof.export.program.storage import stored_bias, stored_weight
from spikeproof.toolkit.errors import InputError

weights = st.lists(st.integers(-700, 700), min_size=1, max_size=8).map(np.array)
formats = st.tuples(st.integers(1, 9), st.sampled_from([None, "mixed", "excitatory", "inhibitory", "null"]))


@given(weights, formats)
def test_what_is_stored_is_on_the_grid_of_a_program(weight: np.ndarray, form: tuple[int, Any]) -> None:
    stored, sign = stored_weight(weight.reshape(1, -1), *form)
    assert stored.dtype == np.int32
    assert stored.shape == (1, len(weight))
    bits = form[0] if sign == "mixed" else min(form[0], 8)
    made = Dense(source="a", target="b", weight=stored, bits=bits, sign=sign)
    np.testing.assert_array_equal(made.weight, stored)


@given(weights, formats)
def test_storing_again_changes_nothing(weight: np.ndarray, form: tuple[int, Any]) -> None:
    stored, sign = stored_weight(weight, *form)
    again, same = stored_weight(stored, form[0], sign)
    assert same == sign
    np.testing.assert_array_equal(again, stored)


@pytest.mark.parametrize(
    ("weight", "sign", "expected"),
    [([0, 0], "excitatory", [0, 0]), ([0, -3], "inhibitory", [0, -2]), ([0, 3], "excitatory", [0, 2])],
)
def test_the_inferred_sign_decides_the_rounding(weight: list[int], sign: str, expected: list[int]) -> None:
    stored, inferred = stored_weight(np.array(weight), 7)
    assert (inferred, stored.tolist()) == (sign, expected)


def test_a_single_negative_weight_costs_all_others_a_bit() -> None:
    assert stored_weight(np.array([3, 5]))[0].tolist() == [3, 5]
    assert stored_weight(np.array([3, 5, -1]))[0].tolist() == [2, 4, -2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((np.array([1.0]),), "values of type float64, expected integers"),
        ((np.array([2**31]),), "do not fit 32 bits"),
        ((np.array([2**63], dtype=np.uint64),), "do not fit 32 bits"),
        ((np.array([], dtype=int),), "no values"),
        ((np.array([1]), 0), "0 bits; choose 1 to 9"),
        ((np.array([1]), 10), "10 bits; choose 1 to 9"),
        ((np.array([1]), 8, "positive"), "sign mode 'positive'"),
    ],
)
def test_weights_that_lava_could_not_be_given_are_refused(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        stored_weight(*given)


def test_a_bias_is_stored_in_16_bits() -> None:
    stored = stored_bias(np.array([[40000, -32768, 32767, -32769]]))
    assert stored.dtype == np.int16
    assert stored.tolist() == [[-25536, -32768, 32767, 32767]]
    with pytest.raises(InputError, match="bias: values of type float32"):
        stored_bias(np.array([1.5], dtype=np.float32))  # type: ignore[arg-type]
