"""The target ``loihi`` under each profile, against networks recorded from the packages themselves."""

from pathlib import Path

import numpy as np
import pytest

from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.files import read_arrays

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
VECTORS = {name: read_arrays(GOLDEN / f"{name}.safetensors", "golden") for name in ("nengo_loihi", "brian2_loihi")}
NETWORKS = [
    (profile, name)
    for profile, (_, header) in VECTORS.items()
    for name, case in sorted(header["cases"].items())
    if case["kind"] == "network"
]


def recorded(profile: str, name: str) -> tuple[Program, dict[str, np.ndarray], int]:
    """Return a recorded network as a Program, its arrays, and how much later than a's the window of b starts."""
    arrays, header = VECTORS[profile]
    own = {key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")}
    brian = profile == "brian2_loihi"
    common = {"exponent": header["cases"][name]["exponent"]}
    neurons = {"vth": header["cases"][name]["threshold"]}
    zero = np.zeros(4, dtype=np.int64)
    program = Program(
        input=Input(shape=(6,), message_bits=0),
        populations=(
            # Brian2Loihi's current decays by decay_I itself, a Program's by du + 1.
            Population(
                name="a", shape=(5,), du=1500 - brian, dv=200, bias=own.get("bias", np.zeros(5, int)), **neurons
            ),
            Population(name="b", shape=(4,), du=4095, dv=100, bias=zero, **neurons),
        ),
        synapses=(
            Dense(source="input", target="a", weight=own["in"], **common),
            Dense(source="a", target="a", weight=own["loop"], delay=2 * brian, **common),
            Dense(
                source="a",
                target="b",
                weight=own["out"],
                delay=3 * brian,
                sign="excitatory" if brian else "mixed",
                **common,
            ),
        ),
        readout=Readout(population="b"),
        steps=24,
    )
    return program, own, 1 + 3 * brian


@pytest.mark.parametrize(("profile", "name"), NETWORKS)
def test_a_program_runs_as_the_package_runs_the_network(profile: str, name: str) -> None:
    program, own, late = recorded(profile, name)
    x = VECTORS[profile][0]["network/x"][:, None].astype(np.int32)
    rasters = LoihiTarget(profile=profile).compile(program).run(x, rasters=True).rasters
    assert rasters["b"].spikes.any()
    for population, shift in (("a", 0), ("b", late)):
        for what in ("u", "v", "spikes"):
            expected = own[f"{population}/{what}"][shift:]
            found = getattr(rasters[population], what)[: len(expected), 0]
            np.testing.assert_array_equal(found, expected, err_msg=f"{what} of {population}")


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="profile 'nxsdk': unknown; known profiles: lava, nengo_loihi, brian2_loihi"):
        LoihiTarget(profile="nxsdk")


def test_a_swallowed_state_is_counted() -> None:
    neuron = Population(name="a", shape=(1,), du=4095, dv=4095, vth=1000, bias=np.array([1]))
    program = Program(
        input=Input(shape=(1,), message_bits=0),
        populations=(neuron,),
        synapses=(Dense(source="input", target="a", weight=np.array([[2]])),),
        readout=Readout(population="a"),
        steps=5,
    )
    # The bias leaves v = 1 after each step, which the next step's decay rounds to 0: four times in five steps.
    trace = LoihiTarget().compile(program).run(np.zeros((5, 3, 1), dtype=np.int32))
    assert trace.overflow is not None
    assert trace.overflow["a"].swallowed == 4 * 3
