"""What many tests share: a finished run to copy and damage, random networks, random Programs and their input."""

import os
import random
import shutil
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import reject, settings
from torch import nn

from spikeproof.eval.run import steps
from spikeproof.eval.run.evaluate import evaluate
from spikeproof.eval.run.folder import Run
from spikeproof.eval.run.simulate import agree
from spikeproof.export.program import (
    Convolution,
    Dense,
    Graded,
    Input,
    Population,
    Program,
    Readout,
    SigmaDelta,
    Sparse,
    Synapse,
)
from spikeproof.hw_targets.lava.environment import environment_python, status
from spikeproof.toolkit.config import CodingSettings, ModelSettings, Recipe, load_recipe
from spikeproof.toolkit.errors import UnsupportedError
from spikeproof.toolkit.kernels.compiler import compiler
from spikeproof.toolkit.kernels.native import REQUIRE_VARIABLE, Status
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.train import seeded

settings.register_profile("spikeproof", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("spikeproof")
# Tensors are small here: threads only wait for each other, and one thread adds in one order.
torch.set_num_threads(1)


def _seed_of(name: str) -> int:
    """Return a seed for the global generators of Python, NumPy and torch: no test depends on which ran before it."""
    return zlib.crc32(name.encode())


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    if fixturedef.scope == "function":
        return (yield)
    # Made by whichever test comes first, and of no effect on what that one draws.
    with seeded(_seed_of(fixturedef.argname)):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # Before fixtures: a file may have one that seeds for itself.
    seed = _seed_of(item.nodeid)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


RECIPE = """
name = "tiny"
data.test_samples = 40
coding.steps = 3
model.channels = [4]
train = { epochs = 2, batch = 64, rate = 0.02 }
attacks = [{ name = "fgsm" }, { name = "pgd", steps = 2 }]
quantize.epochs = 0
evaluate.targets = ["loihi", "onnx"]
"""


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> Path:
    """A run in which every step is done; not to be changed, see ``run_folder``."""
    run = Run.create(tmp_path_factory.mktemp("finished") / "run", load_recipe(str(recipe_file)))
    for step in (steps.train, steps.attack, steps.quantize, steps.export):
        step(run)
    agree(run, ["loihi", "onnx"], 8)
    evaluate(run, None, "cpu")
    return run.folder


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="session")
def slayer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``.net`` file with the types of lava-dl's own: 8 x 8 images as biases, a convolution, 10 classes, 4 steps."""
    rng, path = np.random.default_rng(8), tmp_path_factory.mktemp("slayer") / "small.net"
    neuron = {"iDecay": 4096, "vDecay": 1024, "vThMant": 40, "refDelay": 1, "type": b"CUBA", "gradedSpike": False}
    image = {"shape": [1, 8, 8], "weight": np.float32([64]), "bias": np.float32([0])}
    conv = {"shape": [4, 3, 3], "weight": (2 * rng.integers(-9, 13, (4, 1, 3, 3, 1))).astype(np.float32)}
    conv |= {"stride": [2, 2], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    dense = {"shape": [10, 1, 1], "weight": (2 * rng.integers(-9, 13, (10, 36))).astype(np.float32)}
    with h5py.File(path, "w") as file:
        file["layer/2/type"] = b"flatten"
        for index, kind, fields in ((0, b"input", image), (1, b"conv", conv), (3, b"dense", dense)):
            file.create_dataset(f"layer/{index}/type", (1,), "S10", [kind])
            for name, value in (fields | {f"neuron/{name}": value for name, value in neuron.items()}).items():
                file[f"layer/{index}/{name}"] = value
        file["simulation/tSample"] = 4
    return path


@pytest.fixture(params=[0.2, pytest.param(1.0, marks=pytest.mark.long)], ids=["sample", "all"])
def share(request: pytest.FixtureRequest) -> float:
    """The share of a long sweep's cases that is run: a fifth, and all of them under the marker ``long``."""
    return float(request.param)


@pytest.fixture(scope="session")
def need_lava() -> None:
    """Skip without Lava's environment; fail if SPIKEPROOF_REQUIRE_LAVA says that it must be there."""
    if environment_python() is None:
        leave = pytest.fail if os.environ.get("SPIKEPROOF_REQUIRE_LAVA") == "1" else pytest.skip
        leave(f"Lava is not installed: {status().how}")


@pytest.fixture(scope="session")
def need_netx() -> Path:
    """Skip without lava-dl's environment; fail if SPIKEPROOF_REQUIRE_LAVA says that it must be there."""
    python = environment_python("netx")
    if python is None:
        leave = pytest.fail if os.environ.get("SPIKEPROOF_REQUIRE_LAVA") == "1" else pytest.skip
        leave(f"lava-dl is not installed: {status('netx').how}")
    assert python is not None
    return python


@pytest.fixture(scope="session")
def need_xylosim() -> Path:
    """Skip without xylosim's environment; fail if SPIKEPROOF_REQUIRE_XYLOSIM says that it must be there."""
    python = environment_python("xylosim")
    if python is None:
        leave = pytest.fail if os.environ.get("SPIKEPROOF_REQUIRE_XYLOSIM") == "1" else pytest.skip
        leave(f"xylosim is not installed: {status('xylosim').how}")
    assert python is not None
    return python


@pytest.fixture(scope="session")
def need_loops() -> Callable[[Status], None]:
    """Skip without the compiled loops of a C file; fail if SPIKEPROOF_REQUIRE_NATIVE says that they must be there."""

    def need(loops: Status) -> None:
        if loops.library is None:
            leave = pytest.fail if os.environ.get(REQUIRE_VARIABLE) == "1" else pytest.skip
            leave(f"no compiled loops of {loops.loops}: {loops.missing}")

    return need


@pytest.fixture(scope="session")
def need_compiler(need_loops: Callable[[Status], None]) -> str:
    """The C compiler; as ``need_loops`` where there is none."""
    found = compiler()
    if found is None:
        need_loops(Status("any file", missing="no C compiler"))
    assert found is not None
    return found


@pytest.fixture(scope="session")
def random_network() -> Callable[..., SpikingNetwork]:
    """Make a network on 1x8x8 images that spikes, its batch norms far from the identity."""

    def make(pool: str = "max", channels: tuple[int, ...] = (4,), steps: int = 3, seed: int = 0) -> SpikingNetwork:
        settings = ModelSettings(pool=pool, channels=list(channels), threshold=0.5)
        network = build_network(Recipe(model=settings, coding=CodingSettings(steps=steps)), (1, 8, 8), 10, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.data = 0.4 * torch.randn(layer.weight.shape, generator=generator)
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    tensor.data = torch.rand(tensor.shape, generator=generator) + 0.1
                layer.bias.data -= 0.3
        return network.eval()

    return make


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Twelve random images of 1x8x8 on the 8-bit grid, each with its own dark areas."""
    rng = np.random.default_rng(0)
    areas = np.kron(rng.integers(0, 2, (12, 1, 4, 4)), np.ones((2, 2)))
    return (rng.integers(0, 256, (12, 1, 8, 8)) * areas / 255).astype(np.float32)


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 10, 12)


def _weight(rng: np.random.Generator, shape: tuple[int, ...], bits: int, sign: str) -> np.ndarray:
    if sign == "mixed":
        return rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape) << (9 - bits)
    wide = min(bits, 8)
    return rng.integers(0, 2**wide, shape) * (1 if sign == "excitatory" else -1) << (8 - wide)


def _extra(draw: st.DrawFn, rng: np.random.Generator, shapes: list[tuple[str, tuple[int, ...]]]) -> list[Synapse]:
    """Draw synapses between any two populations: shortcuts, delays, loops, sparse ones."""
    synapses: list[Synapse] = []
    for _ in range(draw(st.integers(0, 3))):
        (source, before), (target, after) = draw(st.sampled_from(shapes)), draw(st.sampled_from(shapes[1:]))
        size = (int(np.prod(after)), int(np.prod(before)))
        common: dict[str, Any] = {"source": source, "target": target, "delay": draw(st.sampled_from([0, 0, 1, 2, 62]))}
        common["exponent"] = draw(st.just(0) | st.integers(-8, 7))
        if draw(st.booleans()):
            synapses.append(Dense(**common, weight=_weight(rng, size, 8, "mixed")))
        else:
            count = draw(st.integers(1, size[0] * size[1]))
            pairs = rng.choice(size[0] * size[1], count, replace=False)
            rows, columns = pairs // size[1], pairs % size[1]
            weight = _weight(rng, (count,), 8, "mixed")
            synapses.append(Sparse(**common, shape=size, weight=weight, rows=rows, columns=columns))
    return synapses


_STARTS = st.sampled_from([None, None, None, None, 0, 1, 2])


def _population(
    draw: st.DrawFn, rng: np.random.Generator, name: str, shape: tuple[int, ...], **options: Any
) -> Population:
    return Population(
        name=name,
        shape=shape,
        du=draw(st.sampled_from([-1, 0, 1000, 4094, 4095])),
        dv=draw(st.sampled_from([0, 1, 2048, 4095, 4096])),
        vth=draw(st.sampled_from([0, 1, 50, 5000, 131071])),
        bias_exponent=draw(st.integers(0, 7)),
        bias=rng.integers(-4096, 4096 - 255 * options.get("input_bias", False), shape),
        **options,
    )


def _changes(
    draw: st.DrawFn, rng: np.random.Generator, name: str, shape: tuple[int, ...], **options: Any
) -> SigmaDelta:
    coded = options.get("input_bias", False)
    if not coded and draw(st.integers(0, 4)) == 4:
        zeros = np.zeros(shape, dtype=int)
        return SigmaDelta(name=name, shape=shape, vth=0, activation="unit", sends="sigma", bias=zeros, **options)
    return SigmaDelta(
        name=name,
        shape=shape,
        vth=draw(st.sampled_from([0, 1, 50, 5000, 131071])),
        activation=draw(st.sampled_from(["relu", "unit"])),
        spike_exponent=draw(st.integers(0, 7)),
        # Wider messages than those of 2^28 times many weights are beyond what sums in float64 hold.
        state_exponent=draw(st.integers(3, 6)),
        bias=rng.integers(-4096, 4096 - 255 * coded, shape),
        **options,
    )


@st.composite
def _programs(draw: st.DrawFn, message_bits: int | None = None, chain: bool = False, changes: bool = False) -> Program:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits = draw(st.sampled_from([0, 1, 8, 16, 24])) if message_bits is None else message_bits
    first = Input(shape=tuple(draw(st.integers(1, 4)) for _ in range(3)), message_bits=bits)
    shapes, populations, synapses = [("input", first.shape)], [], []
    if bits <= 8 and not chain and draw(st.integers(0, 3)) == 3:
        made = _changes if changes and draw(st.booleans()) else _population
        populations.append(made(draw, rng, "coded", first.shape, input_bias=True))
        shapes.append(("coded", first.shape))
    for number in range(draw(st.integers(1, 3))):
        (source, shape), name = shapes[-1], f"p{number}"
        common: dict[str, Any] = {"source": source, "target": name, "exponent": draw(st.just(0) | st.integers(-8, 7))}
        common |= {
            "bits": draw(st.integers(1, 9)),
            "sign": draw(st.sampled_from(["mixed", "excitatory", "inhibitory"])),
        }
        if common["bits"] == 9:
            common["sign"] = "mixed"
        kernel, padding, dilation = ([draw(st.integers(low, 2)) for _ in "yx"] for low in (1, 0, 1))
        fits = len(shape) == 3 and all(
            n + 2 * p > d * (k - 1) for n, k, p, d in zip(shape[1:], kernel, padding, dilation, strict=True)
        )
        if fits and draw(st.booleans()):
            groups = draw(st.sampled_from([g for g in (1, 2, 3) if shape[0] % g == 0]))
            size = (groups * draw(st.integers(1, 2)), shape[0] // groups, *kernel)
            synapse: Synapse = Convolution(
                **common,
                weight=_weight(rng, size, common["bits"], common["sign"]),
                stride=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
                padding=tuple(padding),
                dilation=tuple(dilation),
                groups=groups,
            )
            shape = synapse.output_shape(shape)
        else:
            before, shape = int(np.prod(shape)), draw(st.sampled_from([(1,), (3,), (2, 1, 2)]))
            synapse = Dense(
                **common, weight=_weight(rng, (int(np.prod(shape)), before), common["bits"], common["sign"])
            )
        synapses.append(synapse)
        if draw(st.booleans()):
            size = (int(np.prod(shape)), int(np.prod(shapes[-1][1])))
            synapses.append(Dense(source=source, target=name, weight=_weight(rng, size, 8, "mixed")))
        if changes and draw(st.integers(0, 2)):
            populations.append(_changes(draw, rng, name, shape, start=None if chain else draw(_STARTS)))
        elif number and not chain and draw(st.integers(0, 3)) == 3:
            # Narrow sums; those too wide for the messages are refused, see below.
            synapses[-1] = synapses[-1].model_copy(update={"exponent": min(common["exponent"], 0)})
            populations.append(Graded(name=name, shape=shape, vth=draw(st.sampled_from([0, 3, 200])), message_bits=12))
        else:
            populations.append(_population(draw, rng, name, shape, start=None if chain else draw(_STARTS)))
        shapes.append((name, shape))
    readout = draw(st.sampled_from(["spike_count", "first_spike", "membrane"]))
    stateful = [population for population in populations if not isinstance(population, Graded)]
    if isinstance(stateful[-1], SigmaDelta):
        readout = "membrane"
    try:
        return Program(
            input=first,
            populations=tuple(populations),
            synapses=(*synapses, *([] if chain else _extra(draw, rng, shapes))),
            readout=Readout(kind=readout, population=stateful[-1].name),
            steps=draw(st.integers(1, 5)),
        )
    except UnsupportedError:
        # Windows that start after something arrives, messages too wide for their bits.
        reject()


@pytest.fixture(scope="session")
def programs() -> Callable[..., st.SearchStrategy[Program]]:
    """Strategies of small Programs with fields of the whole range; unless chains, with shortcuts, delays, loops."""
    return _programs


@pytest.fixture(scope="session")
def messages() -> Callable[..., np.ndarray]:
    """Make random input for a Program, (time, batch, ...), with zeros and peaks more often than chance."""

    def make(program: Program, batch: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        shape = (program.steps, batch, *program.input.shape)
        any_value = rng.integers(0, program.input.peak + 1, shape)
        return np.choose(rng.integers(0, 3, shape), [0, any_value, program.input.peak]).astype(np.int32)

    return make
