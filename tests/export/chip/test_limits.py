"""The data file of limits: every number has a source, and those of Loihi 1 are the ones that are published."""

import pytest
from pydantic import ValidationError

from spikeproof.export.chip import CHIPS
from spikeproof.export.chip.limits import CORE_FIELDS, CORE_QUANTITIES, FIELDS, QUANTITIES, Limit, Limits, load_limits
from spikeproof.export.program.parts import BIAS_EXPONENT_MAX, BIAS_MANTISSA, VTH_MAX, WEIGHT_EXPONENT


@pytest.mark.parametrize("chip", CHIPS.names())
def test_every_limit_has_a_source(chip: str) -> None:
    found = load_limits(chip)
    assert set(found.limits) == set(QUANTITIES if found.family == "loihi" else CORE_QUANTITIES)
    assert set(found.fields) == set(FIELDS if found.family == "loihi" else CORE_FIELDS)
    for limit in [*found.limits.values(), *found.fields.values(), found.mesh]:
        assert len(limit.source) > 10
    for limit in found.limits.values():
        assert not (limit.hard and chip == "loihi2"), "Loihi 2's numbers are not confirmed: none refuses"
        assert (limit.quality == "none") == (limit.high is None)
    assert found.mesh.cores == (found.limits["cores"].high if found.family == "loihi" else 1)


def test_xylo_is_the_overview_of_its_maker() -> None:
    """rockpool.ai/devices/xylo-overview.html: input channels, hidden and read-out neurons, synapses, most targets."""
    names = ("channels", "hidden", "outputs", "synapses", "input_projection", "output_projection")
    found = {chip: [load_limits(chip).limits[name].high for name in names] for chip in CHIPS.names() if "xylo" in chip}
    assert found == {
        "xylo_audio2": [16, 1000, 8, 2, 1000, 1000],
        "xylo_audio3": [16, 992, 32, 2, 128, 128],
        "xylo_imu": [16, 496, 16, 1, 128, 128],
    }


def test_loihi_1_is_davies_2018() -> None:
    """Davies et al. 2018: 1024 compartments, 4096 axons each way, 128 KB of synaptic memory a core."""
    limits = load_limits("loihi1").limits
    published = {"neurons": 1024, "axons_in": 4096, "axons_out": 4096, "synapse_bits": 128 * 1024 * 8}
    assert all(limits[key].hard for key in published)
    assert {key: limits[key].low for key in published} == published == {key: limits[key].high for key in published}


def test_tiles_go_along_the_rows() -> None:
    mesh = load_limits("loihi1").mesh
    assert [mesh.tile(core) for core in (0, 3, 4, 31, 32, 127, 128)] == [
        (0, 0), (0, 0), (1, 0), (7, 0), (0, 1), (7, 3), (0, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"low": 9, "high": 5},
        {"low": None},
        {"low": None, "high": None},
        {"source": ""},
        {"confidence": "none"},
        {"confidence": "sure"},
        {"surprise": 1},
    ],
)
def test_a_limit_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    good = {
        "low": 4,
        "high": 5,
        "unit": "a core",
        "hard": True,
        "confidence": "low",
        "quality": "assumed",
        "source": "x",
    }
    assert Limit(**good).high == 5
    with pytest.raises(ValidationError):
        Limit(**good | change)


def test_a_chip_without_one_of_the_limits_is_refused() -> None:
    for kind, key in (("limits", "delay"), ("fields", "vth")):
        values = load_limits("loihi1").model_dump()
        del values[kind][key]
        with pytest.raises(ValidationError, match=f"{kind}: .*expected"):
            Limits.model_validate(values)


@pytest.mark.parametrize("chip", [chip for chip in CHIPS.names() if load_limits(chip).family == "loihi"])
def test_fields_are_those_that_a_program_may_hold(chip: str) -> None:
    """All but du -1, dv 4096 and exponent -8, which a Program may hold because other definitions have them."""
    fields = load_limits(chip).fields
    assert fields["vth"].high == VTH_MAX
    assert (fields["bias_mantissa"].low, fields["bias_mantissa"].high) == BIAS_MANTISSA
    assert fields["bias_exponent"].high == BIAS_EXPONENT_MAX
    assert (fields["weight_exponent"].low - 1, fields["weight_exponent"].high) == WEIGHT_EXPONENT
