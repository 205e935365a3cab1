"""Sigma-delta layers of ``.net`` files: against NumPy's int32, lava-dl's importer, and its own recorded answers."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikeproof.eval.agreement.targets import difference
from spikeproof.export.formats.netx_read import NetFile, read_net
from spikeproof.export.program import SigmaDelta
from spikeproof.hw_targets.lava.client import run_jobs
from spikeproof.hw_targets.lava.netx import compile_file, file_script
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.toolkit.errors import UnsupportedError

Layers = list[dict[str, Any]]
STEPS = 6


def write(path: Path, layers: Layers) -> Path:
    """Write layers with the types of lava-dl's own files."""
    with h5py.File(path, "w") as file:
        for index, layer in enumerate(layers):
            group = file.create_group(f"layer/{index}")
            for name, value in layer.items():
                if name == "type":
                    group.create_dataset("type", (1,), "S10", [value.encode()])
                elif name == "neuron":
                    for key, entry in value.items():
                        group[f"neuron/{key}"] = entry
                elif name in ("weight", "weight_rec", "bias"):
                    group[name] = np.asarray(value, dtype=np.float32)
                else:
                    group[name] = np.asarray(value)
    return path


def sdnn(vth: int, **others: Any) -> dict[str, Any]:
    return {"type": "SDNN", "activation": "relu", "vThMant": vth, **others}


CUBA = {"type": "CUBA", "iDecay": 4096, "vDecay": 800, "vThMant": 500, "refDelay": 1, "gradedSpike": False}
ENDS = {"sigma_output": True}


def cases() -> dict[str, tuple[Layers, dict[str, Any]]]:
    """Networks as SLAYER writes them, and how to read them."""
    rng = np.random.default_rng(5)

    def even(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-30, 30, shape)

    image: dict[str, Any] = {"type": "input", "shape": [2, 5, 4], "neuron": sdnn(3)}
    conv: dict[str, Any] = {
        "type": "conv",
        "shape": [4, 3, 2],
        "weight": even(4, 1, 3, 3, 1),
        "bias": rng.integers(-40, 40, 4),
        "stride": [2, 1],
        "padding": [1, 0],
        "dilation": [1, 1],
        "groups": 2,
        "neuron": sdnn(9),
    }

    def dense(size: int, before: int, neuron: dict[str, Any], **others: Any) -> dict[str, Any]:
        return {"type": "dense", "shape": [size], "weight": even(size, before), "neuron": neuron, **others}

    flat: dict[str, Any] = {"type": "input", "shape": [7], "weight": [40], "bias": [5], "neuron": sdnn(0)}
    return {
        "convolution": (
            [
                *(image, conv, {"type": "flatten"}),
                dense(5, 24, sdnn(2), bias=rng.integers(-60, 90, 5)),
                dense(3, 5, sdnn(1, **ENDS)),
            ],
            {"input_range": (-1.0, 1.0)},
        ),
        "dense, read by what it holds": ([flat, dense(6, 7, sdnn(20), bias=[7]), dense(4, 6, sdnn(30))], {}),
        "delays": (
            [flat, dense(6, 7, sdnn(5), bias=[-3], delay=[0, 2, 1, 0, 3, 1]), dense(4, 6, sdnn(0, **ENDS))],
            {},
        ),
        "loops": (
            [
                flat,
                dense(5, 7, sdnn(4), bias=[11]) | {"type": "dense_rec", "weight_rec": even(5, 5)},
                dense(4, 5, sdnn(0, **ENDS)),
            ],
            {},
        ),
        "spikes behind changes": ([flat, dense(6, 7, sdnn(3)), dense(4, 6, CUBA)], {}),
        "changes behind spikes": (
            [{"type": "input", "shape": [7]}, dense(6, 7, CUBA | {"vThMant": 30}), dense(4, 6, sdnn(2), bias=[9])],
            {},
        ),
        "all together": (
            [flat, dense(6, 7, sdnn(20), bias=[17]), dense(4, 6, sdnn(3), bias=[8]), dense(3, 4, sdnn(0, **ENDS))],
            {"together": True},
        ),
    }


def messages_of(net: NetFile, samples: int = 2) -> np.ndarray:
    rng, shape = np.random.default_rng(8), (STEPS, samples, *net.program.input.shape)
    full = net.program.input.full
    return rng.integers(0, full + 1, shape).astype(np.int32)


def moved(weight: np.ndarray, x: np.ndarray, layer: dict[str, Any]) -> np.ndarray:
    """Return the sums of a layer's windows over x (in, height, width), pixel by pixel."""
    (sy, sx), (py, px) = layer["stride"], layer["padding"]
    padded = np.pad(x, ((0, 0), (py, py), (px, px)))
    out, each, ky, kx = weight.shape[:4]
    found = np.zeros(layer["shape"], dtype=np.int64)
    for o, i, j in np.ndindex(*found.shape):
        first = o // (out // layer["groups"]) * each
        window = padded[first : first + each, i * sy : i * sy + ky, j * sx : j * sx + kx]
        found[o, i, j] = (window * weight[o, :, :, :, 0]).sum()
    return found


def test_a_convolutional_network_computes_as_written_down(tmp_path: Path) -> None:
    """Layer after layer in its own window, in 32 bits: the host gives 64 x, and layers hold 2^12 times theirs."""
    layers, options = cases()["convolution"]
    net = read_net(write(tmp_path / "a.net", layers), steps=STEPS, **options)
    assert net.levels == 128
    messages = messages_of(net)
    trace = LoihiTarget().compile(net.program).run(messages, rasters=True)
    for sample in range(messages.shape[1]):
        sent = (messages[:, sample].astype(np.int64) - 64) << 12
        held = sent
        for index, layer in enumerate(layers):
            if layer["type"] == "flatten":
                sent = sent.reshape(STEPS, -1)
                continue
            if layer["type"] != "input":
                weight = layer["weight"]
                arriving = [moved(weight, x, layer) if layer["type"] == "conv" else weight @ x for x in sent]
                held = np.cumsum(arriving, axis=0)
                if "sigma_output" in layer["neuron"]:
                    break
                bias = np.asarray(layer["bias"]).reshape(-1, *[1] * (held.ndim - 2))
                held = np.maximum(held + (bias << 12), 0)
            vth, rest, before, found = layer["neuron"]["vThMant"] << 12, np.zeros_like(held[0]), 0 * held[0], []
            for now in held:
                change = now - before + rest
                kept = np.where(abs(change) >= vth, change, 0)
                rest, before = change - kept, now
                found.append(kept >> 6)
            sent = np.array(found)
            raster = trace.rasters[f"layer{index}"]
            assert np.array_equal(raster.spikes[:, sample], sent), index
            assert raster.v is not None
            assert np.array_equal(raster.v[:, sample], held), index
            assert (sent != 0).any()
        assert np.array_equal(trace.output[sample], held[-1])


def test_all_that_is_read_computes_as_on_the_importer(tmp_path: Path, need_netx: Path, share: float) -> None:
    """The files themselves on lava-dl's importer, in one worker: every message, and all that layers hold."""
    files: dict[str, tuple[Path, NetFile]] = {}
    jobs = []
    drawn = list(cases().items())
    for index, (_, (layers, options)) in enumerate(drawn if share == 1 else [drawn[0], drawn[-1]]):
        path = write(tmp_path / f"{index}.net", layers)
        net = read_net(path, steps=STEPS, **options)
        assert net.unloadable is None
        files[net.program.sha256()] = path, net
        jobs.append((net.program, messages_of(net)))
    traces = run_jobs(jobs, python=need_netx, rasters=True, script=file_script(files))
    for (program, messages), trace in zip(jobs, traces, strict=True):
        ours = LoihiTarget().compile(program).run(messages, rasters=True)
        values = difference("netx", ours, trace)
        assert {bits.quantity for bits in values} == {"spikes", "u", "v"}
        assert [bits for bits in values if bits.different] == []
        assert all((raster.spikes != 0).any() for raster in ours.rasters.values())


def published(python: Path) -> Path:
    """Return the folder of the sigma-delta network that lava-dl's own tests bring; it comes with the importer."""
    return next(python.parent.parent.glob("lib/python3*/site-packages/tests/lava/lib/dl/netx/gts/pilotnet_sdnn"))


def test_lava_dls_pilotnet_gives_its_recorded_answer(need_netx: Path) -> None:
    """Its test: nothing holds any layer back, and what comes out in each of nine steps is compared."""
    folder = published(need_netx)
    net = read_net(folder / "network.net", steps=9, input_range=(-1.0, 1.0), together=True)
    image = np.load(folder / "input.npy")[..., 0].transpose(2, 1, 0) + 64
    messages = np.broadcast_to(image, (9, 1, *image.shape)).astype(np.int32)
    trace = LoihiTarget().compile(net.program).run(messages, rasters=True)
    answer = np.load(folder / "output.npy")
    assert len(set(answer[0].tolist())) > 5
    assert np.array_equal(trace.rasters["layer9"].spikes[:, 0].T, answer)


@pytest.mark.long
def test_lava_dls_pilotnet_computes_as_on_the_importer(need_netx: Path) -> None:
    """Random frames, which change in every pixel, over three steps: every message, and all that layers hold."""
    path = published(need_netx) / "network.net"
    net = read_net(path, steps=3, input_range=(-1.0, 1.0))
    frames = np.random.default_rng(1).integers(0, net.levels + 1, (3, 1, *net.program.input.shape)).astype(np.int32)
    values = difference(
        "netx",
        LoihiTarget().compile(net.program).run(frames, rasters=True),
        compile_file(path, net).run(frames, rasters=True),
    )
    assert [bits for bits in values if bits.different] == []
    assert sum(bits.compared for bits in values) > 300_000


@pytest.mark.usefixtures("need_netx")
def test_a_short_sample_is_warned_of_where_all_layers_start_together(tmp_path: Path) -> None:
    layers, options = cases()["all together"]
    path = write(tmp_path / "a.net", layers)
    net = read_net(path, steps=3, **options)
    assert net.warnings == ("the last layer is reached after 3 steps, and a sample has 3; give more",)
    assert {part.start for part in net.program.populations} == {0}
    assert compile_file(path, net).program == net.program
    assert read_net(path, steps=3).warnings == ()


def test_what_a_layer_is_read_as(tmp_path: Path) -> None:
    layers, options = cases()["convolution"]
    program = read_net(write(tmp_path / "a.net", layers), steps=STEPS, **options).program
    first, conv, dense, last = program.populations
    assert all(isinstance(part, SigmaDelta) for part in program.populations)
    assert (first.activation, first.input_bias, first.bias.flat[0]) == ("unit", True, -64)  # type: ignore[union-attr]
    assert (conv.vth, conv.shape, dense.vth, last.sends) == (9, (4, 3, 2), 2, "sigma")  # type: ignore[union-attr]
    assert (program.readout.kind, program.readout.scale) == ("membrane", 1 / 4096)


DENSE: dict[str, Any] = {"type": "dense", "shape": [2], "weight": [[2, 4], [-6, 8]], "neuron": sdnn(3)}
REFUSED: dict[str, tuple[Layers, dict[str, Any], str]] = {
    "activation": ([DENSE | {"neuron": sdnn(3) | {"activation": "tanh"}}], {}, "takes relu for all"),
    "bits": ([DENSE | {"neuron": sdnn(3, messageBits=8)}], {}, "messageBits, with which lava-dl's importer fails"),
    "threshold": ([DENSE | {"neuron": sdnn(2**17)}], {}, "vThMant = 131072"),
    "bias at the end": ([DENSE | {"neuron": sdnn(3, **ENDS), "bias": [1, 2]}], {}, "a bias with sigma_output"),
    "sigma on the way": ([DENSE | {"neuron": sdnn(3, **ENDS)}, DENSE], {}, "which only a host takes"),
    "sigma in an input": ([{"type": "input", "shape": [2], "neuron": sdnn(3, **ENDS)}, DENSE], {}, "in an input"),
    "average": ([DENSE, {"type": "average", "shape": [1]}], {}, "a mean of graded changes"),
    "bias too large": ([DENSE | {"bias": [5001, 2]}], {}, "allowed are -4096 to 4095"),
    "readout": ([DENSE], {"readout": "spike_count"}, "read its membrane, not 'spike_count'"),
    "integrator": ([DENSE, {"type": "dense", "shape": [1], "weight": [[2, 4]]}], {}, "leaves Loihi's 24 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_refused_by_name(tmp_path: Path, name: str) -> None:
    layers, options, message = REFUSED[name]
    with pytest.raises(UnsupportedError, match=message) as caught:
        read_net(write(tmp_path / "a.net", layers), steps=4, **options)
    assert str(caught.value).startswith(f"{tmp_path / 'a.net'}: ")
