"""Files of lava-dl, read as Programs: against a plain computation, lava-dl's importer, and its own recorded answers."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikeproof.eval.agreement.targets import difference
from spikeproof.export.formats.netx import write_net
from spikeproof.export.formats.netx_read import NetFile, read_net
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout, Sparse
from spikeproof.hw_targets.lava.client import run_jobs
from spikeproof.hw_targets.lava.netx import compile_file, file_script
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import FileError, SpikeproofError, UnsupportedError

Layers = list[dict[str, Any]]


def write(path: Path, layers: Layers, steps: int | None = None) -> Path:
    """Write layers with the types of lava-dl's own files: texts in an array of one, weights in float32."""
    with h5py.File(path, "w") as file:
        for index, layer in enumerate(layers):
            group = file.create_group(f"layer/{index}")
            for name, value in layer.items():
                if name == "type":
                    group.create_dataset("type", (1,), "S10", [value.encode()])
                elif name == "neuron":
                    for key, entry in (value or {}).items():
                        group[f"neuron/{key}"] = entry.encode() if isinstance(entry, str) else entry
                elif name in ("weight", "weight_rec", "bias", "delay"):
                    group[name] = np.asarray(value, dtype=np.float32)
                else:
                    group[name] = np.asarray(value)
        if steps is not None:
            file["simulation/tSample"] = steps
    return path


def neuron(**others: Any) -> dict[str, Any]:
    plain = {"type": "CUBA", "iDecay": 4096, "vDecay": 1000, "vThMant": 40, "refDelay": 1, "gradedSpike": False}
    return plain | others


def decayed(x: np.ndarray, factor: int) -> np.ndarray:
    """Magnitudes are cut: sgn(x) floor(|x| (4096 - factor) / 4096)."""
    return np.sign(x) * (abs(x) * (4096 - factor) // 4096)


def correlated(x: np.ndarray, layer: dict[str, Any]) -> np.ndarray:
    """Sum over windows, one output pixel after the other: x (batch, in, height, width)."""
    weight = np.asarray(layer["weight"], dtype=np.int64)
    groups = layer.get("groups", 1)
    if layer["type"] == "pool":
        groups = x.shape[1]
        weight = np.repeat(weight, groups, axis=0)
    weight = weight.reshape(weight.shape[:4])
    (sy, sx), (py, px) = layer.get("stride", (1, 1)), layer.get("padding", (0, 0))
    dy, dx = layer.get("dilation", (1, 1))
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
    out, each, ky, kx = map(int, weight.shape)
    rows = (padded.shape[2] - dy * (ky - 1) - 1) // sy + 1
    columns = (padded.shape[3] - dx * (kx - 1) - 1) // sx + 1
    found = np.zeros((len(x), out, rows, columns), dtype=np.int64)
    for o in range(out):
        first = o // (out // groups) * each
        for i in range(rows):
            for j in range(columns):
                window = padded[:, first : first + each, i * sy :, j * sx :][:, :, : dy * ky : dy, : dx * kx : dx]
                found[:, o, i, j] = (window[:, :, :ky, :kx] * weight[o]).sum((1, 2, 3))
    return found


def computed(layers: Layers, messages: np.ndarray) -> dict[str, np.ndarray]:
    """Return the spikes (time, batch, ...) of each layer in its own window, by ``layerINDEX``; "v" of the last one.

    Args:
        layers: that were written.
        messages: (time, batch, ...); of bias-coded input the input's weight is in them already.
    """
    sent, found = messages.astype(np.int64), {}
    steps, batch = sent.shape[:2]
    for index, layer in enumerate(layers):
        if layer["type"] == "flatten" or (layer["type"] == "input" and "neuron" not in layer):
            continue
        last = {"iDecay": 0, "vDecay": 4096, "vThMant": 2**17}
        cells = layer.get("neuron") or last
        bias = np.asarray(layer.get("bias", 0)).astype(np.int64)
        arriving = np.zeros_like(sent)
        if layer["type"] in ("conv", "pool"):
            arriving = np.stack([correlated(x, layer) for x in sent])
            bias = bias.transpose() if bias.ndim == 3 else bias.reshape(-1, 1, 1)
        elif layer["type"] != "input":
            weight = np.atleast_2d(np.asarray(layer["weight"]).astype(np.int64))
            delay = np.asarray(layer.get("delay", 0)).astype(np.int64)
            if delay.ndim == 1:
                delay = delay[:, None] if len(delay) == len(weight) else delay[None]
            delay = np.broadcast_to(delay, weight.shape) - delay.min()
            flat = sent.reshape(steps, batch, -1)
            arriving = np.zeros((steps, batch, len(weight)), dtype=np.int64)
            for t in range(steps):
                for late in range(min(t, int(delay.max())) + 1):
                    arriving[t] += flat[t - late] @ np.where(delay == late, weight, 0).T
        u = v = np.zeros_like(arriving[0])
        spikes = np.zeros_like(arriving)
        for t in range(steps):
            a = arriving[t]
            if t and "weight_rec" in layer:
                a = a + spikes[t - 1] @ np.asarray(layer["weight_rec"]).astype(np.int64).T
            driven = sent[t] if layer["type"] == "input" else 0
            u = decayed(u, cells["iDecay"]) + 64 * a
            v = np.clip(decayed(v, cells["vDecay"]) + u + 64 * (bias + driven), 1 - 2**23, 2**23 - 1)
            spikes[t] = v > 64 * cells["vThMant"]
            v = np.where(spikes[t], 0, v)
        sent = found[f"layer{index}"] = spikes
        found["v"] = v.reshape(batch, -1)
    return found


@dataclass(frozen=True)
class Case:
    """Layers, and how they are read."""

    layers: Layers
    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    peak: int = 1


def even(rng: np.random.Generator, *shape: int, most: int = 40) -> np.ndarray:
    return 2 * rng.integers(-most, most + 1, shape)


def cases() -> dict[str, Case]:
    """Every kind of layer that has a form, small."""
    rng = np.random.default_rng(5)
    image = {"type": "input", "shape": [2, 6, 8]}
    coded = image | {"weight": [60], "bias": [-7], "neuron": neuron(vThMant=33)}
    conv: dict[str, Any] = {
        "type": "conv",
        "shape": [4, 3, 4],
        "weight": even(rng, 4, 2, 3, 3, 1),
        "neuron": neuron(type="LOIHI"),
    }
    conv |= {"stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "groups": 1, "bias": rng.integers(-9, 30, 4)}
    flat = {"type": "flatten", "shape": [48, 1, 1]}

    def dense(out: int, inputs: int, **others: Any) -> dict[str, Any]:
        return {"type": "dense", "shape": [out, 1, 1], "weight": even(rng, out, inputs), "neuron": neuron()} | others

    leaky = neuron(iDecay=1024, vDecay=128, vThMant=90)
    per_neuron = rng.integers(-5, 30, (3, 3, 2))  # (width, height, channels)
    return {
        "dense chain without an input": Case([dense(7, 5), dense(4, 7, bias=rng.integers(-9, 40, 4))], (5,)),
        "leaky currents, one bias": Case([{"type": "input", "shape": [5]}, dense(6, 5, neuron=leaky, bias=[11])], (5,)),
        "bias-coded image, conv, flatten, dense": Case([coded, conv, flat, dense(5, 48)], (2, 6, 8), {}, 60),
        "graded image": Case([image, conv, flat, dense(5, 48)], (2, 6, 8), {"input_bits": 4}, 15),
        "grouped and dilated conv, bias a neuron": Case(
            [
                {"type": "input", "shape": [2, 5, 7]},
                {"type": "conv", "shape": [2, 3, 3], "weight": even(rng, 2, 1, 2, 3), "neuron": neuron(vThMant=4)}
                | {"stride": [1, 1], "padding": [0, 0], "dilation": [2, 2], "groups": 2, "bias": per_neuron},
            ],
            (2, 5, 7),
        ),
        "recurrent": Case([dense(6, 5, type="dense_rec", weight_rec=even(rng, 6, 6))], (5,)),
        "delays a neuron": Case([dense(6, 5, delay=[0, 1, 5, 2, 2, 0]), dense(3, 6, delay=[4, 4, 4])], (5,)),
        "delays an input": Case([dense(6, 5, delay=[3, 1, 1, 2, 4])], (5,)),
        "delays a weight": Case([dense(6, 5, delay=rng.integers(0, 4, (6, 5)))], (5,)),
        "last layer without neurons": Case([dense(6, 5), dense(4, 6) | {"neuron": None}], (5,)),
        "one output, weights in a row": Case([dense(6, 5), dense(1, 6, weight=even(rng, 6))], (5,)),
        "weights of one sign": Case([dense(6, 5, weight=rng.integers(0, 200, (6, 5)))], (5,)),
        "odd small weights": Case([dense(6, 5, weight=rng.integers(-9, 10, (6, 5)), neuron=neuron(vThMant=3))], (5,)),
        "a conv with large weights": Case(
            [image, conv | {"weight": 16 * even(rng, 4, 2, 3, 3, most=90), "neuron": neuron(vThMant=3000)}], (2, 6, 8)
        ),
    }


def not_on_importer() -> dict[str, Case]:
    """Those that lava-dl's importer does not load."""
    rng = np.random.default_rng(6)
    image = {"type": "input", "shape": [2, 4, 6]}
    pool = {"type": "pool", "shape": [2, 2, 2], "weight": np.full((1, 1, 2, 3, 1), 16), "stride": [2, 3]}
    pool |= {"padding": [0, 0], "dilation": [1, 1], "neuron": neuron(vThMant=20)}
    zero = {"type": "dense", "shape": [4], "weight": np.zeros((4, 8)), "neuron": neuron(), "bias": [0, 30, 50, 70]}
    dense = {"type": "dense", "shape": [3], "weight": even(rng, 3, 8), "neuron": neuron()}
    return {
        "sum pool": Case([image, pool, dense], (2, 4, 6)),
        "all weights 0": Case([image, pool, zero], (2, 4, 6)),
    }


def messages_for(case: Case, seed: int = 1, steps: int = 8, samples: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    high = case.peak + 1
    if case.peak > 1:  # an image, the same at every step
        return np.broadcast_to(rng.integers(0, high, (1, samples, *case.shape)), (steps, samples, *case.shape))
    return (rng.random((steps, samples, *case.shape)) < 0.6).astype(np.int64)


def opened(tmp_path: Path, case: Case) -> tuple[Path, NetFile]:
    path = write(tmp_path / "a.net", case.layers, steps=8)
    return path, read_net(path, **case.options)


ALL = cases() | not_on_importer()


@pytest.mark.parametrize("name", ALL)
def test_every_layer_computes_as_written_down(tmp_path: Path, name: str) -> None:
    case = ALL[name]
    _, net = opened(tmp_path, case)
    messages = messages_for(case)
    given = messages.reshape(*messages.shape[:2], *net.program.input.shape).astype(np.int32)
    trace = LoihiTarget().compile(net.program).run(given, rasters=True)
    expected = computed(case.layers, messages)
    assert [population.name for population in net.program.populations] == [key for key in expected if key != "v"]
    fired = 0
    for population, raster in trace.rasters.items():
        assert np.array_equal(raster.spikes, expected[population]), population
        fired += int(raster.spikes.sum())
    assert fired > 10
    last = trace.rasters[net.program.populations[-1].name]
    assert last.v is not None
    assert np.array_equal(last.v[-1].reshape(3, -1), expected["v"])


def test_an_average_counts_the_spikes_of_each_group(tmp_path: Path) -> None:
    case = cases()["dense chain without an input"]
    layers = [case.layers[0] | {"shape": [8], "weight": even(np.random.default_rng(0), 8, 5)}]
    layers.append({"type": "average", "shape": [4, 1, 1]})
    net = read_net(write(tmp_path / "a.net", layers, steps=8))
    messages = messages_for(case)
    trace = LoihiTarget().compile(net.program).run(messages.astype(np.int32))
    groups = computed(layers[:1], messages)["layer0"].sum(0).reshape(3, 4, 2).sum(2)
    assert groups.sum() > 20
    assert np.array_equal(trace.output, 64 * groups)
    assert (net.program.readout.kind, net.program.readout.scale) == ("membrane", 1 / 128)
    assert net.unloadable is not None
    assert [population.name for population in net.loaded.populations] == ["layer0"]


CHANGED = np.array([[300, -20, 6], [-256, 14, 255], [60, 90, -44]])


def changed(path: Path) -> NetFile:
    return read_net(write(path, [{"type": "dense", "shape": [3], "weight": CHANGED, "neuron": neuron()}], steps=8))


def test_weights_that_the_importer_changes_are_read_as_it_changes_them(tmp_path: Path) -> None:
    net = changed(tmp_path / "a.net")
    (warning,) = net.warnings
    assert "changes 2 of 9 weights" in warning
    (synapse,) = net.program.synapses
    assert (synapse.weight >> -synapse.exponent).tolist() == np.minimum(CHANGED, 254).tolist()


def test_all_that_is_read_computes_as_on_the_importer(tmp_path: Path, need_netx: Path, share: float) -> None:
    """The files themselves on lava-dl's importer, in one worker: every spike, current and voltage."""
    files: dict[str, tuple[Path, NetFile]] = {}
    jobs = []
    drawn = list({**cases(), "changed": None}.items())
    few = drawn if share == 1 else random.sample(drawn, round(share * len(drawn)))
    for index, (name, case) in enumerate(few):
        path = tmp_path / f"{index}.net"
        net = changed(path) if case is None else read_net(write(path, case.layers, steps=8), **case.options)
        assert net.unloadable is None, name
        given = messages_for(case or Case([], (3,)), samples=2)
        files[net.program.sha256()] = path, net
        jobs.append((net.program, given.reshape(*given.shape[:2], *net.program.input.shape).astype(np.int32)))
    traces = run_jobs(jobs, python=need_netx, rasters=True, script=file_script(files))
    assert len(files) == len(traces) >= 3
    for (program, messages), trace in zip(jobs, traces, strict=True):
        ours = LoihiTarget().compile(program).run(messages, rasters=True)
        values = difference("netx", ours, trace)
        assert {bits.quantity for bits in values} == {"spikes", "u", "v"}
        assert sum(raster.spikes.sum() for raster in ours.rasters.values()) > 10
        assert [bits for bits in values if bits.different] == []


def published(python: Path, name: str) -> Path:
    """Return a file that lava-dl's own tests bring; it comes with the importer."""
    return next(python.parent.parent.glob("lib/python3*/site-packages/tests/lava/lib/dl/netx")) / name


def test_lava_dls_own_network_gives_its_recorded_answer(need_netx: Path) -> None:
    """Its test: the biases of a sample are given, and what comes out is compared from the step after the first on."""
    # Values below 0 are among what it was given.
    net = read_net(published(need_netx, "tiny.net"), steps=17, input_range=(-1.0, 1.0))
    biases = np.load(published(need_netx, "gts/tinynet/input_bias.npy")).transpose(2, 1, 0)
    answer = np.load(published(need_netx, "gts/tinynet/output.npy"))[0]  # (channels, height, width, time)
    (first, *_) = net.program.populations
    messages = np.broadcast_to(biases - first.bias, (17, 1, *biases.shape)).astype(np.int32)  # type: ignore[union-attr]
    spikes = LoihiTarget().compile(net.program).run(messages, rasters=True).rasters["layer2"].spikes[:, 0]
    assert answer.sum() > 50
    assert np.array_equal(np.moveaxis(spikes, 0, -1)[..., : answer.shape[-1] - 1], answer[..., 1:])


def test_lava_dls_delayed_network_gives_its_recorded_answer(need_netx: Path) -> None:
    """Its test looks at the last step of 201: 242 outputs behind two layers with a delay for each neuron."""
    given = np.load(published(need_netx, "gts/ntidigits/input.npy"))
    answer = np.load(published(need_netx, "gts/ntidigits/output.npy"))
    net = read_net(published(need_netx, "gts/ntidigits/ntidigits.net"), steps=given.shape[1])
    messages = given.T.reshape(given.shape[1], 1, *net.program.input.shape).astype(np.int32)
    spikes = LoihiTarget().compile(net.loaded).run(messages, rasters=True).rasters["layer4"].spikes[:, 0]
    # Three layers later than sent.
    assert np.array_equal(spikes[-4], answer[:, 1])


def test_lava_dls_pilotnet_gives_its_recorded_states(need_netx: Path) -> None:
    """Nine layers over 16 steps, of which lava-dl's hardware tests demand the currents; the recording goes on after.

    Where a neuron fires the recorded voltage is 128, not 0, as in the board's trace of the NIR paper.
    """
    folder = published(need_netx, "gts/pilotnet_lif")
    # Of the values that it was given some are below 0.
    net = read_net(folder / "network.net", steps=16, input_range=(-1.0, 1.0))
    first, *others = net.program.populations
    image = np.load(folder / "image.npy").transpose(2, 1, 0) - first.bias.flat[0]  # type: ignore[union-attr]
    messages = np.broadcast_to(image, (16, 1, *image.shape)).astype(np.int32)
    trace = LoihiTarget().compile(net.program).run(messages, rasters=True)
    names = [*(f"conv-{index}" for index in range(5)), *(f"fc-{index}" for index in range(3))]
    spikes = compared = 0
    for depth, (name, population) in enumerate(zip(names, others[:-1], strict=True), start=1):
        raster = trace.rasters[population.name]
        recorded = {}
        for what in ("", "-u", "-v"):
            values = np.moveaxis(np.load(folder / f"{name}{what}.npy"), -1, 0)[depth : depth + 16]
            recorded[what] = values.transpose(0, 3, 2, 1) if values.ndim == 4 else values
        assert raster.u is not None
        assert raster.v is not None
        assert np.array_equal(raster.spikes[:, 0], recorded[""]), name
        assert np.array_equal(raster.u[:, 0], recorded["-u"]), name
        assert np.array_equal(np.where(recorded[""], 128, raster.v[:, 0]), recorded["-v"]), name
        spikes, compared = spikes + int(recorded[""].sum()), compared + 3 * recorded[""].size
    assert (spikes > 100_000, compared) == (True, 5_707_584)


@pytest.mark.usefixtures("need_netx")
def test_a_file_is_compiled_for_its_importer_as_far_as_it_loads_it(tmp_path: Path) -> None:
    layers = [cases()["dense chain without an input"].layers[0] | {"shape": [7]}, {"type": "average", "shape": [7]}]
    path = write(tmp_path / "a.net", layers, steps=8)
    net = read_net(path)
    messages = messages_for(Case(layers, (5,))).astype(np.int32)
    theirs = compile_file(path, net).run(messages, rasters=True)
    ours = LoihiTarget().compile(net.program).run(messages, rasters=True)
    assert list(theirs.rasters) == ["layer0"]
    assert np.array_equal(theirs.rasters["layer0"].spikes, ours.rasters["layer0"].spikes)
    assert ours.rasters["layer0"].spikes.sum() > 10


def test_what_we_write_is_read_as_the_same_network(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)

    def population(name: str, shape: tuple[int, ...], **others: Any) -> Population:
        fields = {"du": 4095, "dv": 700, "vth": 35, "bias_exponent": 6} | others
        return Population(name=name, shape=shape, bias=rng.integers(-5, 20, shape), **fields)

    rows, columns = np.nonzero(rng.random((4, 27)) < 0.4)
    program = Program(
        input=Input(shape=(2, 7, 7), message_bits=6, scale=1 / 63),
        populations=(population("a", (3, 3, 3)), population("b", (4,)), population("c", (4,), du=1000)),
        synapses=(
            Convolution(source="input", target="a", weight=even(rng, 3, 2, 3, 3), stride=(2, 2)),
            Sparse(source="a", target="b", weight=even(rng, len(rows)), rows=rows, columns=columns, shape=(4, 27)),
            Dense(source="b", target="c", weight=even(rng, 4, 4)),
            Dense(source="c", target="c", weight=even(rng, 4, 4)),
        ),
        readout=Readout(population="c"),
        steps=6,
    )
    write_net(tmp_path / "a.net", program)
    net = read_net(tmp_path / "a.net", steps=6, input_bits=6)
    messages = np.broadcast_to(rng.integers(0, 64, (1, 5, 2, 7, 7)), (6, 5, 2, 7, 7)).astype(np.int32)
    one, other = (LoihiTarget().compile(each).run(messages, rasters=True) for each in (program, net.program))
    assert one.output.sum() > 10
    for ours, theirs in zip(one.rasters.values(), other.rasters.values(), strict=True):
        assert np.array_equal(ours.spikes, theirs.spikes)
        assert np.array_equal(ours.u, theirs.u)  # type: ignore[arg-type]
        assert np.array_equal(ours.v, theirs.v)  # type: ignore[arg-type]


def test_bias_coded_input_of_every_scale_has_its_messages(tmp_path: Path) -> None:
    coded = {"type": "input", "shape": [4], "weight": [60], "bias": [10], "neuron": neuron()}
    path = write(
        tmp_path / "a.net",
        [coded, {"type": "dense", "shape": [2], "weight": even(np.random.default_rng(0), 2, 4)} | {"neuron": neuron()}],
    )
    found = {}
    for name, options in {
        "[0, 1]": {},
        "[-1, 1]": {"input_range": (-1.0, 1.0)},
        "3 bits": {"input_bits": 3},
    }.items():
        net = read_net(path, steps=4, **options)
        first = net.program.populations[0]
        assert isinstance(first, Population)
        ends = np.array([0, net.levels]) + first.bias.flat[0]
        found[name] = (ends << first.bias_exponent).tolist()
    mantissas = {"[0, 1]": (10, 70), "[-1, 1]": (-50, 70), "3 bits": (10, 10 + 7 * 60)}
    assert found == {name: [64 * low, 64 * high] for name, (low, high) in mantissas.items()}


GOOD = {"type": "dense", "shape": [2], "weight": [[2, 4], [-6, 8]], "neuron": neuron()}
REFUSED: dict[str, tuple[Layers, type[SpikeproofError], str]] = {
    "adaptive": ([GOOD | {"neuron": neuron(type="ALIF")}], UnsupportedError, "third state"),
    "resonating": ([GOOD | {"neuron": neuron(type="RF_PHASE")}], UnsupportedError, "resonating states"),
    "unknown neuron": ([GOOD | {"neuron": neuron(type="LIF2")}], UnsupportedError, "no such type"),
    "refractory": ([GOOD | {"neuron": neuron(refDelay=3)}], UnsupportedError, "refDelay = 3, a refractory period"),
    "weight exponent": ([GOOD | {"neuron": neuron(wgtExp=2)}], UnsupportedError, "importer ignores"),
    "graded spikes": ([GOOD | {"neuron": neuron(gradedSpike=True)}], UnsupportedError, "gradedSpike = 1"),
    "decay a neuron": ([GOOD | {"neuron": neuron(vDecay=[1, 2])}], UnsupportedError, "a population shares one"),
    "decay too large": ([GOOD | {"neuron": neuron(vDecay=5000)}], UnsupportedError, "takes 0 to 4096"),
    "threshold too large": ([GOOD | {"neuron": neuron(vThMant=2**17)}], UnsupportedError, "vThMant = 131072"),
    "fractions": ([GOOD | {"weight": [[0.5, 1], [1, 1]]}], UnsupportedError, "fractions"),
    "NaN": ([GOOD | {"weight": [[np.nan, 1], [1, 1]]}], FileError, "NaN"),
    "transposed": ([GOOD | {"type": "convT"}], UnsupportedError, "transposed convolutions"),
    "skip": ([GOOD | {"type": "concat"}], UnsupportedError, "skip connections"),
    "no kind": ([GOOD | {"type": "lstm"}], UnsupportedError, "no kind of layer"),
    "no weight": ([{"type": "dense", "shape": [2], "neuron": neuron()}], FileError, "'weight' is missing"),
    "no decay": ([GOOD | {"neuron": {"type": "CUBA", "vDecay": 1, "vThMant": 1}}], FileError, "'iDecay' is missing"),
    "sizes": ([GOOD, GOOD | {"weight": [[2, 4, 6], [6, 8, 2]]}], FileError, r"expected \(2, 2\)"),
    "bias": ([GOOD | {"bias": [1, 2, 3]}], UnsupportedError, "bias of shape"),
    "bias too large": ([GOOD | {"bias": [5001, 2]}], UnsupportedError, "13 bits"),
    "delay": ([GOOD | {"delay": [1, 2, 3]}], UnsupportedError, "delays of shape"),
    "negative delay": ([GOOD | {"delay": [-1, 2]}], UnsupportedError, "delay of -1"),
    "weights above 255": ([GOOD | {"weight": [[300, 4], [6, 8]]}], UnsupportedError, "negative number of bits"),
    "silent layer": ([GOOD | {"neuron": None}, GOOD], UnsupportedError, "has no neurons"),
    "conv first": ([{"type": "conv", "weight": np.ones((1, 1, 2, 2)), "neuron": neuron()}], UnsupportedError, "first"),
    "second input": ([GOOD, {"type": "input", "shape": [2]}], UnsupportedError, "second input"),
    "only an input": ([{"type": "input", "shape": [2]}], FileError, "no layer with neurons"),
    "behind an average": ([GOOD, {"type": "average", "shape": [2]}, GOOD], UnsupportedError, "behind an average"),
    "delayed loops": (
        [GOOD | {"type": "dense_rec", "weight_rec": [[2, 2], [2, 2]], "delay": [0, 3]}],
        UnsupportedError,
        "loses their exponent",
    ),
    "dark input": (
        [{"type": "input", "shape": [2], "weight": [-3], "neuron": neuron()}, GOOD],
        UnsupportedError,
        "input weight -3",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_refused_by_name(tmp_path: Path, name: str) -> None:
    layers, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message) as caught:
        read_net(write(tmp_path / "a.net", layers, steps=4))
    assert str(caught.value).startswith(f"{tmp_path / 'a.net'}: ")
    if name != "only an input":
        assert ": layer " in str(caught.value)


def test_a_pool_that_slayer_would_mix_between_channels_is_refused(tmp_path: Path) -> None:
    case = not_on_importer()["sum pool"]
    image = case.layers[0] | {"shape": [2, 5, 6]}
    with pytest.raises(UnsupportedError, match="between channels unless they tile"):
        read_net(write(tmp_path / "a.net", [image, *case.layers[1:]], steps=4))


def test_delays_of_a_convolution_are_refused(tmp_path: Path) -> None:
    image, conv, *_ = cases()["graded image"].layers
    with pytest.raises(UnsupportedError, match=r"layer 1 \(conv\): delays of convolutions"):
        read_net(write(tmp_path / "a.net", [image, conv | {"delay": [1, 0, 0, 0]}], steps=4))


def test_an_integrator_that_would_leave_the_chips_range_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.net", [GOOD, GOOD | {"neuron": None, "weight": [[254, 254], [-6, 8]]}])
    assert read_net(path, steps=258).program.readout.kind == "membrane"
    with pytest.raises(UnsupportedError, match="use fewer steps"):
        read_net(path, steps=259)


def test_steps_are_told_or_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.net", [GOOD])
    with pytest.raises(UnsupportedError, match="how many time steps"):
        read_net(path)
    assert read_net(write(tmp_path / "b.net", [GOOD], steps=7)).program.steps == 7
    assert read_net(tmp_path / "b.net", steps=3).program.steps == 3


def test_nothing_outside_the_file_is_read(tmp_path: Path) -> None:
    other = write(tmp_path / "other.net", [GOOD], steps=4)
    path = write(tmp_path / "a.net", [GOOD], steps=4)
    with h5py.File(path, "r+") as file:
        del file["layer/0/weight"]
        file["layer/0/weight"] = h5py.ExternalLink(str(other), "layer/0/weight")
    with pytest.raises(FileError, match="is a link to another place"):
        read_net(path)


def test_other_files_are_no_networks(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    with pytest.raises(FileError, match="no such file"):
        read_net(path)
    path.write_bytes(b"text")
    with pytest.raises(FileError, match=r"not a readable \.net file"):
        read_net(path)
    with h5py.File(path, "w") as file:
        file["node"] = 1
    with pytest.raises(FileError, match=r"an HDF5 file, but not a \.net file of lava-dl"):
        read_net(path)
