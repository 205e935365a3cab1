"""Real files to damage, and the process that reads them (test_malformed.py)."""

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from spikeproof.export.formats.netx import write_net
from spikeproof.export.formats.onnx import write_onnx
from spikeproof.export.lowering.lower import lower
from spikeproof.export.nir.write import read_nir, write_nir
from spikeproof.export.program import (
    Convolution,
    Dense,
    Graded,
    Input,
    Population,
    Program,
    Readout,
    Sparse,
    write_program,
)
from spikeproof.toolkit.quantize import quantized_network

WORKER = Path(__file__).with_name("malformed_worker.py")
GROWTH = 3 * 2**29
"""Most memory that one file may take: the readers state 1 GiB, of which copies are made."""
PATIENCE = 60


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut, flip or overwrite a file's bytes; headers are hit more often than chance."""
    how = draw(st.sampled_from(["cut", "flip", "flip", "write", "insert", "append"]))
    places = st.integers(0, len(content) - 1) | st.integers(0, min(len(content) - 1, 600))
    if how == "cut":
        return content[: draw(places)]
    if how == "append":
        return content + draw(st.binary(min_size=1, max_size=40))
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(places)
        if how == "flip":
            changed[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "write":
            part = draw(st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7]) | st.binary(max_size=16))
            changed[place : place + len(part)] = part
        else:
            changed[place:place] = draw(st.binary(min_size=1, max_size=9))
    return bytes(changed)


class Worker:
    """The process that reads, started again if it dies."""

    damaged = staticmethod(damaged)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.cases: Counter[str] = Counter()

    def stop(self) -> int | None:
        """End the process, if it runs, and return its exit status."""
        if self.process is None:
            return None
        with self.process as process:
            process.kill()
        self.process = None
        return process.returncode

    def line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        return self.process.stdout.readline() if ready else ""

    def read(self, **case: str) -> dict[str, Any]:
        """Return what came of reading a file; fail if it is not one of the things that may come of it."""
        if self.process is None:
            with (self.folder / "errors").open("w") as errors:
                self.process = subprocess.Popen(
                    [sys.executable, str(WORKER), str(self.folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                )
            assert json.loads(self.line()) == {"ready": True}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        told = self.line()
        if not told:
            pytest.fail(f"died with status {self.stop()} or hung: {(self.folder / 'errors').read_text()[-3000:]}")
        found: dict[str, Any] = json.loads(told)
        assert found["outcome"] != "bug", found["message"]
        assert found["grown"] < GROWTH, f"{found['grown']} bytes more: {found}"
        if found["outcome"] == "refused":
            assert found["message"].startswith(case["place"]), found["message"]
            assert len(found["message"]) < 2 * 5000, "as long as what it quotes"
            assert "MemoryError" not in found["message"], found["message"]
        self.cases[f"{case['kind']} {found['outcome']}"] += 1
        return found


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    made = Worker(tmp_path_factory.mktemp("malformed"))
    yield made
    made.stop()


@pytest.fixture
def many(share: float) -> Callable[[int], Callable[[Callable[[st.DataObject], None]], None]]:
    """Run what is decorated that many times, or the share of them, each time with other data."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]

    def run(count: int) -> Callable[[Callable[[st.DataObject], None]], None]:
        drawn = settings(max_examples=int(count * share), suppress_health_check=checks)
        return lambda law: drawn(given(data=st.data())(law))()

    return run


def wide_program() -> Program:
    """A Program with every construct: graded, bias-coded, sparse, convolution, delays, loops."""
    rng = np.random.default_rng(0)

    def spiking(name: str, shape: tuple[int, ...], **fields: Any) -> Population:
        fields = {"du": 3000, "dv": 500, "vth": 90, "bias_exponent": 3} | fields
        return Population(name=name, shape=shape, bias=rng.integers(-90, 200, shape), **fields)

    count = np.arange(18)
    return Program(
        input=Input(shape=(2, 3, 3), message_bits=4, scale=1 / 15),
        populations=(
            spiking("coded", (2, 3, 3), input_bias=True),
            Graded(name="join", shape=(2, 3, 3), vth=0, message_bits=10),
            spiking("a", (2, 3, 3), vth=2000),
            spiking("head", (4,), start=4),
        ),
        synapses=(
            Convolution(source="coded", target="join", weight=2 * rng.integers(-9, 9, (2, 2, 3, 3)), padding=(1, 1)),
            Sparse(source="input", target="join", shape=(18, 18), weight=2 * (count % 7), rows=count, columns=count),
            Dense(source="join", target="a", weight=2 * rng.integers(-90, 90, (18, 18)), exponent=-4),
            Dense(source="a", target="a", weight=2 * rng.integers(-90, 90, (18, 18)), delay=1),
            Dense(source="a", target="head", weight=4 * rng.integers(-30, 30, (4, 18)), bits=7, delay=3),
        ),
        readout=Readout(kind="first_spike", population="head"),
        steps=5,
    )


def chain_program() -> Program:
    """A Program that the .net file holds: a convolution and a dense synapse."""
    rng = np.random.default_rng(1)
    return Program(
        input=Input(shape=(1, 4, 3), message_bits=8, scale=1 / 255),
        populations=(
            Population(name="a", shape=(2, 3, 2), du=4095, dv=100, vth=20, bias=rng.integers(-9, 9, (2, 3, 2))),
            Population(name="b", shape=(4,), du=99, dv=0, vth=9, bias_exponent=6, bias=np.arange(4)),
        ),
        synapses=(
            Convolution(source="input", target="a", weight=2 * rng.integers(-9, 9, (2, 1, 2, 2))),
            Dense(source="a", target="b", weight=2 * rng.integers(-9, 9, (4, 12))),
        ),
        readout=Readout(population="b"),
        steps=4,
    )


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, random_network: Callable[..., Any]) -> Path:
    """A folder with a real file of each kind, and the Program of each."""
    folder = tmp_path_factory.mktemp("real")
    wide, chain = wide_program(), chain_program()
    write_program(folder / "wide", wide)
    write_program(folder / "chain", chain)
    write_onnx(folder / "wide.onnx", wide)
    write_net(folder / "chain.net", chain_with_fixed_bias(chain))
    write_program(folder / "fixed", chain_with_fixed_bias(chain))
    write_slayer_file(folder / "lava-dl.net")
    write_nir(folder / "n.nir", quantized_network(random_network(), 6), (1, 8, 8))
    write_program(folder / "n", lower(*read_nir(folder / "n.nir")))
    return folder


def write_slayer_file(path: Path) -> None:
    """Write a network as lava-dl's SLAYER does: a bias-coded image, a convolution, and layers with delays and loops."""
    rng = np.random.default_rng(4)
    with h5py.File(path, "w") as file:

        def layer(index: int, kind: str, shape: list[int], **fields: Any) -> None:
            group = file.create_group(f"layer/{index}")
            group.create_dataset("type", (1,), "S10", [kind.encode()])
            group["shape"] = shape
            for name, value in fields.items():
                group[name] = np.asarray(value, dtype=np.float32) if name in ("weight", "bias", "delay") else value
            for name, value in {"iDecay": 3000, "vDecay": 900, "vThMant": 30, "refDelay": 1, "type": b"CUBA"}.items():
                group[f"neuron/{name}"] = value

        layer(0, "input", [1, 4, 5], weight=[60], bias=[4])
        pair = {"stride": [1, 2], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
        layer(1, "conv", [2, 4, 3], weight=2 * rng.integers(-9, 12, (2, 1, 3, 3, 1)), bias=[3, 9], **pair)
        file["layer/2/type"] = b"flatten"
        layer(3, "dense", [5, 1, 1], weight=2 * rng.integers(-9, 12, (5, 24)), delay=[0, 2, 1, 0, 2])
        layer(4, "dense_rec", [3], weight=2 * rng.integers(-9, 12, (3, 5)), weight_rec=2 * rng.integers(-9, 9, (3, 3)))
        file["simulation/tSample"] = 4


def chain_with_fixed_bias(chain: Program) -> Program:
    """Return the Program with the one bias exponent that a .net file has."""
    populations = tuple(part.model_copy(update={"bias_exponent": 6}) for part in chain.populations)
    return Program(**{**dict(chain), "populations": populations})
