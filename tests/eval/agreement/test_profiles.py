"""What the choice of arithmetic changes, on Programs where the answer is known by hand."""

import numpy as np

from spikeproof.eval.agreement.profiles import compare_profiles
from spikeproof.export.program import Dense, Input, Population, Program, Readout


def program(exponent: int, bias: int = 0) -> Program:
    """Two binary inputs of weight 3 meet at threshold 2: 3 >> 1 twice, or 6 >> 1 once (loihi.md 2.13)."""
    return Program(
        input=Input(shape=(2,), message_bits=0),
        populations=(
            Population(name="a", shape=(2,), du=4095, dv=4095, vth=2, bias=np.array([bias, bias]), bias_exponent=6),
        ),
        synapses=(
            Dense(source="input", target="a", weight=np.array([[0, 0], [3, 3]]), sign="excitatory", exponent=exponent),
        ),
        readout=Readout(population="a"),
        steps=2,
    )


def test_the_known_disagreement_on_negative_exponents_is_found_and_placed() -> None:
    both = np.ones((2, 1, 2), dtype=np.int32)
    lava, nengo, brian = compare_profiles(program(-1), both, np.array([1]))
    assert (lava.profile, nengo.profile, brian.profile) == ("lava", "nengo_loihi", "brian2_loihi")
    # 6 >> 1 = 3 fires above 2, and so does NengoLoihi's 4; Brian2Loihi's 1 + 1 = 2 does not.
    assert (lava.spikes_changed, nengo.spikes_changed, brian.spikes_changed) == (0, 0, 2)
    assert brian.first == ("a", (0, 0, 1))
    assert (lava.accuracy, brian.accuracy, brian.classes_changed, brian.spikes_compared) == (1.0, 0.0, 1, 4)
    assert lava.extrapolated == brian.extrapolated == ()


def test_where_no_rule_differs_nothing_does() -> None:
    for one in compare_profiles(program(1), np.ones((2, 3, 2), dtype=np.int32)):
        assert (one.spikes_changed, one.classes_changed, one.first, one.accuracy) == (0, 0, None, None)


def test_what_a_package_could_not_hold_is_said() -> None:
    *_, brian = compare_profiles(program(1, bias=3), np.ones((2, 1, 2), dtype=np.int32))
    assert brian.extrapolated == ("population 'a': Brian2Loihi's neurons have no bias",)
