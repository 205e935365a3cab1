import numpy as np
import pytest

from spikeproof.eval.agreement import targets as module
from spikeproof.eval.agreement.targets import compare, difference
from spikeproof.export.program import Dense, Input, Population, Program, Readout
from spikeproof.hw_targets.target import CompiledProgram, Raster, Target, Trace
from spikeproof.toolkit.errors import InputError, TargetError
from spikeproof.toolkit.progress import Track

STEPS, BATCH, SHAPE = 3, 2, (2, 4)


def trace(seed: int = 0, states: bool = True) -> Trace:
    rng = np.random.default_rng(seed)
    rasters = {}
    for name in ("a", "b"):
        spikes = rng.random((STEPS, BATCH, *SHAPE)) < 0.5
        u, v = rng.integers(-99, 99, (2, *spikes.shape)) if states else (None, None)
        rasters[name] = Raster(spikes, u, v)
    counts = rasters["b"].spikes.sum(0)
    return Trace(counts.reshape(BATCH, -1), {"b": counts}, None, rasters)


def test_equal_traces_have_no_difference() -> None:
    found = difference("onnx", trace(), trace())
    assert [(bits.population, bits.quantity) for bits in found] == [(p, q) for p in "ab" for q in ("spikes", "u", "v")]
    assert {(bits.target, bits.compared, bits.different, bits.first) for bits in found} == {("onnx", 48, 0, None)}


@pytest.mark.parametrize("quantity", ["spikes", "u", "v"])
@pytest.mark.parametrize("population", ["a", "b"])
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (2, 1, 1, 3), (1, 0, 1, 2)])
def test_a_single_bit_is_found_with_its_place(population: str, quantity: str, place: tuple[int, ...]) -> None:
    other = trace()
    values = getattr(other.rasters[population], quantity)
    values[place] ^= 1
    wrong = [bits for bits in difference("onnx", trace(), other) if bits.different]
    assert [(b.population, b.quantity, b.different, b.first) for b in wrong] == [(population, quantity, 1, place)]


def test_the_first_of_several_differences_is_the_earliest_step() -> None:
    other = trace()
    for place in ((2, 0, 0, 0), (1, 1, 1, 1), (1, 1, 0, 3)):
        other.rasters["a"].u[place] += 7
    (wrong,) = (bits for bits in difference("onnx", trace(), other) if bits.different)
    assert (wrong.different, wrong.first) == (3, (1, 1, 0, 3))


def test_states_that_a_target_does_not_expose_are_not_counted_as_compared() -> None:
    found = difference("chip", trace(), trace(states=False))
    assert {bits.quantity for bits in found} == {"spikes"}


def test_traces_of_other_populations_are_refused() -> None:
    reference = trace()
    short = Trace(reference.output, {}, None, {"a": reference.rasters["a"]})
    for one, two in ((reference, short), (short, reference), (Trace(reference.output, {}), reference)):
        with pytest.raises(InputError, match="target 'onnx': its Trace has other rasters"):
            difference("onnx", one, two)


@pytest.mark.parametrize("cut", [(slice(1),), (slice(None), slice(1)), (slice(2),)], ids=["time", "sample", "steps"])
def test_rasters_of_another_shape_are_refused(cut: tuple[slice, ...]) -> None:
    other = trace()
    rasters = {name: Raster(raster.spikes[cut], raster.u[cut], raster.v[cut]) for name, raster in other.rasters.items()}
    with pytest.raises((InputError, TargetError), match="target 'onnx'"):
        difference("onnx", trace(), Trace(other.output, {}, None, rasters))


PROGRAM = Program(
    input=Input(shape=(2,), message_bits=4),
    populations=(Population(name="a", shape=(3,), du=4095, dv=100, vth=9, bias=np.zeros(3, int)),),
    synapses=(Dense(source="input", target="a", weight=2 * np.arange(6).reshape(3, 2)),),
    readout=Readout(population="a"),
    steps=STEPS,
)
SENT = np.random.default_rng(0).integers(0, 16, (STEPS, 5, 2), dtype=np.int32)


class Bent(CompiledProgram):
    """The simulator with one spike and one voltage bent."""

    def _run(self, inputs: np.ndarray, rasters: bool, track: Track) -> Trace:
        whole = module.get_target("loihi").compile(self.program).run(inputs, rasters=rasters)
        whole.rasters["a"].spikes[1, 4, 2] ^= True
        whole.rasters["a"].v[2, 3, 0] += 1
        whole.output[0] = whole.output[0, ::-1] + [0, 0, 9]
        return whole


class Liar(Target[Program]):
    name = "liar"
    summary = "bends one spike"

    def unsupported(self, network: Program) -> list[str]:
        return []

    def _compile(self, network: Program) -> Bent:
        return Bent(network)


@pytest.fixture
def with_liar(monkeypatch: pytest.MonkeyPatch) -> None:
    found = module.get_target
    monkeypatch.setattr(module, "get_target", lambda name: Liar() if name == "liar" else found(name))


def test_simulator_and_onnx_are_equal_in_every_value() -> None:
    found = compare(PROGRAM, SENT, ["loihi", "onnx"])
    assert found.equal
    assert (found.reference, found.targets, found.samples) == ("loihi", ("onnx",), 5)
    assert {bits.quantity: bits.compared for bits in found.values} == dict.fromkeys(["spikes", "u", "v"], STEPS * 5 * 3)
    assert (found.spike_values_compared, found.state_values_compared) == (STEPS * 5 * 3, 2 * STEPS * 5 * 3)
    assert found.same_classes == {"onnx": 5}
    assert found.spikes > 0


@pytest.mark.usefixtures("with_liar")
def test_a_target_that_differs_is_named_with_the_place() -> None:
    found = compare(PROGRAM, SENT, ["loihi", "onnx", "liar"])
    wrong = [bits for bits in found.values if bits.different]
    assert not found.equal
    assert [(b.target, b.quantity, b.first) for b in wrong] == [
        ("liar", "spikes", (1, 4, 2)),
        ("liar", "v", (2, 3, 0)),
    ]
    assert (found.different, found.spike_values_compared) == (2, 2 * STEPS * 5 * 3)
    assert found.state_values_compared == 4 * STEPS * 5 * 3


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        ([], "name at least two different ones"),
        (["loihi"], "targets: loihi; name at least two"),
        (["loihi", "loihi"], "name at least two different ones"),
        (["loihi", "torch"], "target 'torch': runs no Programs"),
        (["loihi", "gpu"], "target 'gpu': unknown; known targets"),
    ],
)
def test_targets_that_cannot_be_compared_are_refused(targets: list[str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        compare(PROGRAM, SENT, targets)
