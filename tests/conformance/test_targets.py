"""The law of all targets: a Trace equals the ``loihi`` simulator's, bit for bit, for any Program the target accepts.

A target is added by one line in TARGETS.
"""

import re

import numpy as np
import pytest

from spikeproof.eval.agreement.targets import difference
from spikeproof.eval.support import constructs as support
from spikeproof.eval.support import graphs
from spikeproof.export.lowering.lower import lower
from spikeproof.export.nir.roundtrip import check_round_trip
from spikeproof.export.nir.write import read_nir, write_nir
from spikeproof.export.program import Convolution, Dense, Graded, Input, Population, Program, Readout, Sparse
from spikeproof.hw_targets.c.target import CTarget
from spikeproof.hw_targets.lava.client import LavaTarget, run_jobs
from spikeproof.hw_targets.lava.netx import NetxTarget
from spikeproof.hw_targets.loihi import neurons
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.onnx import OnnxTarget
from spikeproof.hw_targets.twin import TwinTarget
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.config import DataSettings, ModelSettings, TrainSettings
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.models import conv_network, delayed_network, recurrent_network, sew_network, vgg_network
from spikeproof.toolkit.quantize import quantized_network
from spikeproof.toolkit.train import seeded, train_network


class WithoutLoops:
    """``loihi`` as it runs with SPIKEPROOF_NATIVE=0, or where there is no C compiler."""

    name = "loihi"

    def unsupported(self, program):
        return LoihiTarget().unsupported(program)

    def compile(self, program):
        self.compiled = LoihiTarget().compile(program)
        return self

    def run(self, inputs, *, rasters=False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(neurons, "library", lambda: None)
            return self.compiled.run(inputs, rasters=rasters)


UNDEFINED = ("-O1", "-fsanitize=undefined", "-fno-sanitize-recover")
"""Target ``c`` stops where C leaves open what happens."""

TARGETS = {
    "loihi-delayed": lambda: LoihiTarget(latency=1),
    "loihi-without-loops": WithoutLoops,
    "twin": TwinTarget,
    "onnx": OnnxTarget,
    "c": lambda: CTarget(flags=UNDEFINED),
    "lava": LavaTarget,
    "netx": NetxTarget,
}
PARTIAL = {"netx"}
"""Targets that refuse some of the Programs below; the others accept all."""


SLOW = {"lava", "netx"}
"""Targets that simulate sample by sample in other processes; `make test` gives them the first fourth of the digits."""


class Together:
    """A target of worker processes: they start once, for all Programs of LAWS, which they run before they are asked."""

    def __init__(self, target):
        self.target, self.name, self.unsupported = target, target.name, target.unsupported
        cases = [(program, inputs_of(law, program)) for law in LAWS for program in LAWS[law][0]().values()]
        self.jobs = {self.key(*case): case for case in cases if not target.unsupported(case[0])}
        self.traces = {}

    @staticmethod
    def key(program, inputs):
        return program.sha256(), inputs.tobytes()

    def compile(self, program):
        self.compiled = self.target.compile(program)
        return self

    def run(self, inputs, *, rasters=False):
        asked = self.key(self.compiled.program, inputs)
        if not rasters or asked not in self.jobs:
            return self.compiled.run(inputs, rasters=rasters)
        if not self.traces:
            common = {"python": self.target.python, "workers": self.target.workers, "script": self.target.script}
            found = run_jobs(list(self.jobs.values()), rasters=True, **common)
            self.traces = dict(zip(self.jobs, found, strict=True))
        return self.traces[asked]


@pytest.fixture(scope="module")
def together():
    """The targets of worker processes, by name."""
    return {}


@pytest.fixture(params=TARGETS)
def target(request, together):
    if request.param == "c":
        request.getfixturevalue("need_compiler")
    if request.param not in SLOW:
        return TARGETS[request.param]()
    request.getfixturevalue(f"need_{request.param}")
    if request.param not in together:
        together[request.param] = Together(TARGETS[request.param]())
    return together[request.param]


def reference(program, inputs):
    compiled = LoihiTarget().compile(program)
    bare, expected = compiled.run(inputs), compiled.run(inputs, rasters=True)
    # Without rasters populations may run in other loops.
    assert bare.overflow == expected.overflow
    np.testing.assert_array_equal(bare.output, expected.output)
    for name, counts in expected.spike_counts.items():
        np.testing.assert_array_equal(bare.spike_counts[name], counts)
    return expected


def assert_equal(target, program, inputs):
    """Run both and compare spikes of every population, u and v where exposed, and the read-out."""
    expected = reference(program, inputs)
    reasons = target.unsupported(program)
    if reasons:
        assert target.name in PARTIAL
        with pytest.raises(UnsupportedError, match=re.escape("; ".join(reasons))):
            target.compile(program)
        return expected
    found = target.compile(program).run(inputs, rasters=True)
    compared = difference(target.name, expected, found)
    assert {bits.population for bits in compared} == {population.name for population in program.populations}
    assert [bits for bits in compared if bits.different] == []
    np.testing.assert_array_equal(found.output, expected.output)
    for name, counts in expected.spike_counts.items():
        np.testing.assert_array_equal(found.spike_counts[name], counts)
    return expected


NETWORKS = {
    "max pooling": (conv_network, {"pool": "max"}, 4, 64, 8, 0),
    "average pooling": (conv_network, {"pool": "avg"}, 4, 64, 8, 0),
    "max pooling, 7 bits": (conv_network, {"pool": "max", "channels": [8, 8]}, 8, 8, 7, 6),
    "SEW-ResNet": (sew_network, {"channels": [8, 16]}, 15, 16, 8, 0),
    "VGG": (vgg_network, {"channels": [4, 8]}, 12, 16, 8, 0),
    "recurrent": (recurrent_network, {"channels": [4]}, 4, 8, 8, 0),
    "delayed": (delayed_network, {"channels": [8]}, 4, 8, 8, 0),
}
"""How it is built, its settings, epochs, samples, bits a weight and least bias exponent (netx knows 6 only)."""


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request, tmp_path_factory):
    """A digits network, trained briefly and lowered; with test images as messages, and their labels."""
    make, options, epochs, samples, bits, bias_exponent = NETWORKS[request.param]
    data = load_data(DataSettings())
    with seeded(1):
        network = make(ModelSettings(**options), 4, data.shape, data.classes)
    train_network(network, data.train_images, data.train_labels, TrainSettings(seed=1), epochs=epochs, rate=4e-3)
    path = tmp_path_factory.mktemp("trained") / "network.nir"
    quantized = quantized_network(network, bits)
    write_nir(path, quantized, data.shape)
    check_round_trip(path, quantized, data.test_images[:samples])
    program = lower(*read_nir(path), bias_exponent=bias_exponent)
    inputs = direct_integers(data.test_images, 4)
    accuracy = (LoihiTarget().compile(program).run(inputs).classes == data.test_labels).mean()
    assert accuracy > 0.7, "a network that knows nothing proves nothing"
    return program, inputs[:, :samples], bits == 7


def agrees_on_digits(target, trained, share=1.0):
    program, inputs, seven_bits = trained
    samples = int(inputs.shape[1] * share)
    assert not (seven_bits and target.unsupported(program))
    trace = assert_equal(target, program, inputs[:, :samples])
    # A silent or saturated network would agree trivially.
    rates = [raster.spikes.mean() for raster in trace.rasters.values()]
    assert all(0.01 < rate < 0.99 for rate in rates)


def test_digits(target, trained):
    agrees_on_digits(target, trained, 0.25 if target.name in SLOW else 1.0)


@pytest.mark.long
@pytest.mark.parametrize("target", sorted(SLOW), indirect=True)
def test_all_digits_on_slow_targets(target, trained):
    agrees_on_digits(target, trained)


def one_population(shape, *, bias=0, du=4095, dv=0, vth=100, exponent=0):
    return Population(
        name="a", shape=shape, du=du, dv=dv, vth=vth, bias_exponent=exponent, bias=np.full(shape, bias, dtype=np.int32)
    )


def chain(source, synapse, population, steps=6):
    """Input -> population "a" -> read-out of 3 classes."""
    neurons = int(np.prod(population.shape))
    weight = (np.arange(3 * neurons, dtype=np.int32).reshape(3, neurons) % 7 - 3) * 20
    head = Population(name="b", shape=(3,), du=4095, dv=1000, vth=30, bias=np.array([5, 0, -5]), bias_exponent=3)
    return Program(
        input=source,
        populations=(population, head),
        synapses=(synapse, Dense(source="a", target="b", weight=weight)),
        readout=Readout(population="b"),
        steps=steps,
    )


def edge_programs():
    """Programs that reach the corners of the arithmetic, each by name."""
    rng = np.random.default_rng(0)
    graded, binary = Input(shape=(2, 5, 4), message_bits=8), Input(shape=(2, 5, 4), message_bits=0)

    def conv(**options):
        weight = rng.integers(-120, 120, size=(4, 2 // options.get("groups", 1), 3, 2)) * 2
        return Convolution(source="input", target="a", weight=weight, **options)

    def dense(source, population, **options):
        size = (int(np.prod(population.shape)), int(np.prod(source.shape)))
        weight = rng.integers(-120, 120, size=size) * 2
        return Dense(source="input", target="a", weight=weight, **options)

    leaky = one_population((4, 3, 3), du=100, dv=700, vth=300, bias=-37, exponent=4)
    small = one_population((5,), du=0, dv=5, vth=2000, bias=4095, exponent=7)
    return {
        "convolution, memory in the current": chain(binary, conv(), leaky),
        "convolution, graded, exponent -3": chain(graded, conv(exponent=-3), leaky),
        "convolution, graded, current wraps": chain(graded, conv(), leaky),
        "convolution, stride, padding, groups": chain(
            binary, conv(stride=(2, 1), padding=(1, 0), groups=2), one_population((4, 3, 3), dv=300, vth=90)
        ),
        "convolution, dilation": chain(binary, conv(dilation=(2, 1)), one_population((4, 1, 3), dv=300, vth=90)),
        "dense, graded, voltage saturates": chain(graded, dense(graded, small), small),
        "dense, exponent 5": chain(binary, dense(binary, small, exponent=5), small),
        "dense, exponent -4, onto a map": chain(graded, dense(graded, leaky, exponent=-4), leaky),
        "no leak, no input": chain(binary, conv(), one_population((4, 3, 3), dv=0, vth=1, bias=1, exponent=4)),
    }


def lagging_programs():
    """Programs whose messages lag behind their sample, each by name: biases fire from the first step on."""
    rng = np.random.default_rng(3)
    source = Input(shape=(2, 4, 4), message_bits=8)

    def dense(start, end, size, **options):
        weight = rng.integers(-120, 120, size=size) * 2
        return Dense(source=start, target=end, weight=weight, **options)

    def population(name, shape, **options):
        bias = rng.integers(-300, 900, size=shape)
        return Population(name=name, shape=shape, du=2000, dv=600, vth=400, bias=bias, bias_exponent=5, **options)

    def program(*synapses, readout="spike_count"):
        kernel = rng.integers(-60, 60, size=(3, 2, 2, 2)) * 2
        path = (
            Convolution(source="input", target="a", weight=kernel, exponent=-5),
            dense("a", "b", (6, 27)),
            dense("b", "c", (4, 6)),
        )
        populations = (population("a", (3, 3, 3)), population("b", (6,)), population("c", (4,)))
        return Program(
            input=source,
            populations=populations,
            synapses=(*path, *synapses),
            readout=Readout(kind=readout, population="c"),
            steps=7,
        )

    rows = np.arange(32) % 6
    few = Sparse(
        source="input", target="b", shape=(6, 32), weight=rows * 2, rows=rows, columns=np.arange(32), exponent=-3
    )
    shifted = Convolution(source="a", target="a", weight=rng.integers(-30, 30, size=(3, 3, 3, 3)) * 2, padding=(1, 1))
    return {
        "loop onto itself": program(dense("b", "b", (6, 6)), readout="first_spike"),
        "loop over two, delayed": program(dense("c", "a", (27, 4), delay=2)),
        "convolution onto itself": program(shifted),
        "delayed path": program(dense("a", "b", (6, 27), delay=3), readout="membrane"),
        "delayed convolution": program(shifted.model_copy(update={"delay": 1})),
        "delayed input": program(dense("input", "a", (27, 32), delay=2, exponent=-7)),
        "sparse shortcut": program(few),
        "shortcut around two": program(dense("a", "c", (4, 27), exponent=-2)),
    }


def wider_programs():
    """Graded messages, bias-coded input and windows that start early, each by name."""
    rng = np.random.default_rng(5)
    small = Input(shape=(2, 3, 3), message_bits=4)

    def conv(start, end, **options):
        weight = rng.integers(-60, 60, size=(2, 2, 3, 3)) * 2
        return Convolution(source=start, target=end, weight=weight, padding=(1, 1), **options)

    def spiking(name, **options):
        bias = rng.integers(-300, 600, size=(2, 3, 3))
        return Population(name=name, shape=(2, 3, 3), du=3000, dv=500, vth=250, bias=bias, bias_exponent=4, **options)

    def identity(start, end, **options):
        count = np.arange(18)
        weight = np.full(18, 1)
        return Sparse(
            source=start,
            target=end,
            shape=(18, 18),
            weight=weight,
            rows=count,
            columns=count,
            sign="excitatory",
            **options,
        )

    def program(populations, synapses):
        weight = rng.integers(-80, 90, size=(4, 18)) * 2
        head = Population(name="head", shape=(4,), du=4095, dv=900, vth=90, bias=np.array([5, 0, -5, 99]))
        last = Dense(source=populations[-1].name, target="head", weight=weight)
        return Program(
            input=small,
            populations=(*populations, head),
            synapses=(*synapses, last),
            readout=Readout(population="head"),
            steps=6,
        )

    join = Graded(name="join", shape=(2, 3, 3), vth=0, message_bits=2)
    blocks = (spiking("a"), spiking("b", start=2))
    paths = (conv("input", "a"), conv("a", "b"))
    return {
        "join of graded spikes": program(
            (*blocks, join), (*paths, identity("a", "join", delay=1), identity("b", "join"))
        ),
        "unbalanced join": program((*blocks, join), (*paths, identity("a", "join"), identity("b", "join"))),
        "graded threshold": program(
            (spiking("a"), Graded(name="g", shape=(2, 3, 3), vth=100, message_bits=11)),
            (conv("input", "a"), conv("a", "g", exponent=-1)),
        ),
        "bias-coded input": program((spiking("a", input_bias=True), spiking("b")), (conv("a", "b"),)),
        "bias-coded and graded input, recurrent": program(
            (spiking("a", input_bias=True),),
            (conv("input", "a"), identity("a", "a", delay=1, exponent=7)),
        ),
        "windows that start early": program((spiking("a", start=0), spiking("b", start=1)), paths),
    }


def construct_programs():
    """The Programs of the support table, each by name."""
    return {name: make() for name, make in support.PROGRAMS.items()}


def file_programs():
    """The Programs of the NIR graphs of the support table, each by name."""
    return {name: graphs.program(name) for name in graphs.GRAPHS}


LAWS = {
    "edges": (edge_programs, 5, 1),
    "lagging": (lagging_programs, 3, 4),
    "wider": (wider_programs, 3, 6),
    "constructs": (construct_programs, 2, 7),
    "files": (file_programs, 2, 8),
}
"""What makes the Programs, how many samples each gets, and the seed of those."""


def inputs_of(law, program):
    _, samples, seed = LAWS[law]
    shape = (program.steps, samples, *program.input.shape)
    return np.random.default_rng(seed).integers(0, program.input.peak + 1, size=shape).astype(np.int32)


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_forms_of_files(target, name):
    program = graphs.program(name)
    trace = assert_equal(target, program, inputs_of("files", program))
    # The neuron that carries a bias fires always, all others now and then.
    rates = {name: float((raster.spikes != 0).mean()) for name, raster in trace.rasters.items()}
    assert all(rate == 1 if name == "always" else rate > 0 for name, rate in rates.items())


@pytest.mark.parametrize("name", lagging_programs())
def test_delays_loops_and_shortcuts(target, name):
    program = lagging_programs()[name]
    inputs = inputs_of("lagging", program)
    assert any(program.lag(synapse) for synapse in program.synapses)
    trace = assert_equal(target, program, inputs)
    assert all(0 < raster.spikes.mean() < 1 for raster in trace.rasters.values())
    # The lag matters: without the lagging synapses the network computes something else.
    bare = Program(**{**dict(program), "synapses": program.synapses[:3]})
    rasters = reference(bare, inputs).rasters
    assert any((rasters[name].v != raster.v).any() for name, raster in trace.rasters.items())


@pytest.mark.parametrize("name", wider_programs())
def test_graded_and_bias_coded(target, name):
    program = wider_programs()[name]
    inputs = inputs_of("wider", program)
    trace = assert_equal(target, program, inputs)
    assert all(0 < (raster.spikes != 0).mean() < 1 for raster in trace.rasters.values())
    if "join" in name:
        assert trace.rasters["join"].spikes.max() == 2


@pytest.mark.parametrize("construct", support.PROGRAMS)
def test_every_construct_of_the_support_table(target, construct):
    program = support.PROGRAMS[construct]()
    trace = assert_equal(target, program, inputs_of("constructs", program))
    assert any(raster.spikes.any() for raster in trace.rasters.values())


@pytest.mark.parametrize("name", edge_programs())
def test_edges(target, name):
    program = edge_programs()[name]
    trace = assert_equal(target, program, inputs_of("edges", program))
    events = trace.overflow["a"]
    if "wraps" in name:
        assert events.wraps > 0
    if "saturates" in name:
        assert events.saturations > 0


def test_samples_do_not_influence_each_other(target):
    """Every sample starts from state 0, whatever came before it in the batch."""
    program = edge_programs()["convolution, memory in the current"]
    inputs = np.random.default_rng(2).integers(0, 2, size=(program.steps, 4, *program.input.shape)).astype(np.int32)
    if target.unsupported(program):
        assert target.name in PARTIAL
        return
    compiled = target.compile(program)
    together, alone = compiled.run(inputs), compiled.run(inputs[:, 2:3])
    np.testing.assert_array_equal(together.output[2:3], alone.output)


def test_onnx_refuses_sums_that_float32_cannot_hold():
    """What a target cannot do exactly it says beforehand, with a reason that names the part."""
    weight = np.full((3, 2**17), 254)
    program = Program(
        input=Input(shape=(2**17,), message_bits=1),
        populations=(Population(name="b", shape=(3,), du=4095, dv=0, vth=1, bias=np.zeros(3, dtype=np.int32)),),
        synapses=(Dense(source="input", target="b", weight=weight),),
        readout=Readout(population="b"),
        steps=1,
    )
    (reason,) = OnnxTarget().unsupported(program)
    assert "'input' -> 'b'" in reason


def wide_convolution(message_bits, delay):
    """A convolution that gathers 65,536 channels of spikes, fed by one from the input."""
    channels = 2**16
    population = Population(
        name="a", shape=(channels, 1, 1), du=4095, dv=0, vth=1, bias=np.zeros((channels, 1, 1), dtype=np.int32)
    )
    few = Population(name="b", shape=(1, 1, 1), du=4095, dv=0, vth=1, bias=np.zeros((1, 1, 1), dtype=np.int32))
    enter = Convolution(source="input", target="a", weight=np.full((channels, 1, 1, 1), 254))
    gather = Convolution(source="a", target="b", weight=np.full((1, channels, 1, 1), 254), delay=delay)
    return Program(
        input=Input(shape=(1, 1, 1), message_bits=message_bits),
        populations=(population, few),
        synapses=(enter, gather),
        readout=Readout(population="b"),
        steps=1,
    )


@pytest.mark.parametrize(
    ("message_bits", "delay", "named"),
    [(8, 0, None), (24, 0, "'input' -> 'a': sums up to"), (8, 1, "'a' -> 'b': a delayed convolution")],
)
def test_lava_refuses_convolutions_that_it_would_compute_otherwise(message_bits, delay, named):
    reasons = LavaTarget().unsupported(wide_convolution(message_bits, delay))
    assert [named in reason for reason in reasons] == ([True] if named else [])


def test_an_or_pool_over_128_channels(target):
    """Lava's Conv keeps its geometry in 8 bits: 128 groups would silently give nothing."""
    channels = 128
    ones = {"du": 4095, "dv": 4095, "vth": 1}
    cells = Population(name="a", shape=(channels, 2, 2), **ones, bias=np.zeros((channels, 2, 2), dtype=np.int32))
    pool = Population(name="b", shape=(channels, 1, 1), **ones, bias=np.zeros((channels, 1, 1), dtype=np.int32))
    program = Program(
        input=Input(shape=(1, 2, 2), message_bits=0),
        populations=(cells, pool),
        synapses=(
            Convolution(source="input", target="a", weight=np.full((channels, 1, 1, 1), 2)),
            Convolution(source="a", target="b", weight=np.full((channels, 1, 2, 2), 2), groups=channels),
        ),
        readout=Readout(population="b"),
        steps=3,
    )
    inputs = np.random.default_rng(8).integers(0, 2, size=(3, 2, 1, 2, 2)).astype(np.int32)
    trace = assert_equal(target, program, inputs)
    assert trace.rasters["b"].spikes.mean() > 0.3


def test_lava_refuses_a_wide_geometry_whose_sums_leave_24_bits():
    weight = np.full((1, 1, 1, 200), 254)
    program = Program(
        input=Input(shape=(1, 1, 200), message_bits=12),
        populations=(one_population((1, 1, 1)),),
        synapses=(Convolution(source="input", target="a", weight=weight),),
        readout=Readout(population="a"),
        steps=1,
    )
    (reason,) = LavaTarget().unsupported(program)
    assert "a geometry beyond 127" in reason
