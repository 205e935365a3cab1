"""Target netx: lava-dl 0.6.0 loads and runs the exported file; every accepted construct equals the simulator."""

from pathlib import Path
from typing import Any

import numpy as np

from spikeproof.eval.agreement.targets import difference
from spikeproof.export.formats.netx import netx_layers
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout, Sparse
from spikeproof.hw_targets.lava.client import run_jobs
from spikeproof.hw_targets.lava.netx import NETX, NetxTarget
from spikeproof.hw_targets.loihi.simulator import LoihiTarget

DRAWN = 110
ACCEPTED = 60


class Maker:
    """Makes Programs with random weights; every neuron that it makes can spike."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def population(self, name: str, shape: tuple[int, ...], bias: int = 0, **fields: Any) -> Population:
        return Population(
            **{"du": 4095, "dv": 1000, "vth": 20, "bias_exponent": 6, **fields},
            name=name,
            shape=shape,
            bias=self.rng.integers(-bias, bias + 1, shape),
        )

    def weight(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-64, 64, shape) * 2

    def program(self, first: Input, *parts: Any, kind: str = "spike_count", steps: int = 5) -> Program:
        populations = tuple(part for part in parts if isinstance(part, Population))
        return Program(
            input=first,
            populations=populations,
            synapses=tuple(part for part in parts if not isinstance(part, Population)),
            readout=Readout(population=populations[-1].name, kind=kind),
            steps=steps,
        )


def constructs() -> dict[str, Program]:
    make = Maker(0)
    pop, weight = make.population, make.weight
    spikes, graded = Input(shape=(5,), message_bits=0), Input(shape=(2, 6, 7), message_bits=8)
    found = {
        "dense, leaky and memoryless": make.program(
            spikes,
            pop("a", (6,), bias=9),
            pop("b", (4,), bias=9, du=1000, dv=0),
            Dense(source="input", target="a", weight=weight(6, 5)),
            Dense(source="a", target="b", weight=weight(4, 6)),
        ),
        "convolutions, OR pool, flatten": make.program(
            graded,
            pop("a", (4, 6, 4), vth=3000, bias=30),
            pop("pool", (4, 3, 2), vth=1, dv=4095),
            pop("c", (2, 2, 1), bias=5),
            pop("b", (3,), bias=9),
            Convolution(source="input", target="a", weight=weight(4, 1, 3, 2), stride=(1, 2), padding=(1, 1), groups=2),
            Convolution(
                source="a",
                target="pool",
                sign="excitatory",
                weight=np.full((4, 1, 2, 2), 2),
                stride=(2, 2),
                groups=4,
            ),
            Convolution(source="pool", target="c", weight=weight(2, 4, 2, 2), exponent=1),
            Dense(source="c", target="b", weight=weight(3, 4), exponent=-1),
        ),
        "dilation": make.program(
            graded,
            pop("a", (3, 4, 10), vth=900),
            Convolution(source="input", target="a", weight=weight(3, 2, 3, 2), dilation=(2, 1), padding=(1, 2)),
        ),
        "more groups than Lava's 8 bits hold": make.program(
            Input(shape=(130, 1, 2), message_bits=0),
            pop("a", (130, 1, 2), vth=1),
            Convolution(source="input", target="a", weight=np.full((130, 1, 1, 1), 2), groups=130),
        ),
        "sums that wrap 24 bits": make.program(
            Input(shape=(4, 3, 3), message_bits=16),
            pop("a", (2, 2, 2), du=100, dv=0, vth=131071),
            Convolution(source="input", target="a", weight=weight(2, 4, 2, 2)),
        ),
        "neurons that fire before the sample is there": make.program(
            Input(shape=(3,), message_bits=0),
            pop("a", (20,), bias=4095, vth=0),
            pop("b", (20,), bias=4095, vth=3),
            pop("c", (2,), bias=100, vth=30, du=7, dv=0),
            Dense(source="input", target="a", weight=weight(20, 3)),
            Dense(source="a", target="b", weight=weight(20, 20), delay=3),
            Dense(source="b", target="c", weight=weight(2, 20)),
        ),
        "as before, with loops": make.program(
            Input(shape=(3,), message_bits=0),
            pop("a", (20,), bias=4095, vth=0),
            pop("b", (20,), bias=4095, vth=3),
            pop("c", (2,), bias=100, vth=30, du=7, dv=0),
            Dense(source="input", target="a", weight=weight(20, 3)),
            Dense(source="a", target="b", weight=weight(20, 20)),
            Dense(source="b", target="b", weight=weight(20, 20)),
            Dense(source="b", target="c", weight=weight(2, 20)),
            Dense(source="c", target="c", weight=weight(2, 2)),
        ),
        "delays, membrane": make.program(
            Input(shape=(2, 3, 3), message_bits=4),
            pop("a", (2, 2, 2), vth=50, bias=20),
            pop("b", (3,), bias=20),
            Convolution(source="input", target="a", weight=weight(2, 2, 2, 2), delay=3),
            Dense(source="a", target="b", weight=weight(3, 8), delay=2),
            kind="membrane",
        ),
        "weights that netx would change": make.program(
            spikes,
            pop("a", (6,)),
            pop("b", (4,), vth=300),
            pop("c", (9,), bias=50, vth=30),
            Dense(source="input", target="a", weight=weight(6, 5)),
            Dense(source="a", target="b", weight=weight(4, 6), exponent=3),
            Dense(source="b", target="c", weight=np.zeros((9, 4), dtype=int)),
            kind="first_spike",
        ),
        "residual": make.program(
            spikes,
            pop("a", (6,)),
            pop("b", (4,), bias=8),
            pop("c", (3,), vth=50),
            Dense(source="input", target="a", weight=weight(6, 5)),
            Dense(source="a", target="b", weight=weight(4, 6)),
            Dense(source="b", target="c", weight=weight(3, 4)),
            Dense(source="a", target="c", weight=weight(3, 6), delay=1),
        ),
        "concatenation": make.program(
            Input(shape=(1, 4, 4), message_bits=0),
            pop("a", (2, 3, 3), bias=6),
            pop("b", (5,)),
            pop("c", (3,), vth=50),
            Convolution(source="input", target="a", weight=weight(2, 1, 2, 2)),
            Dense(source="input", target="b", weight=weight(5, 16)),
            Dense(source="a", target="c", weight=weight(3, 18)),
            Dense(source="b", target="c", weight=weight(3, 5)),
        ),
        "loops, biases held back": make.program(
            spikes,
            pop("a", (6,), bias=30),
            pop("b", (4,), bias=15, du=1000),
            Dense(source="input", target="a", weight=weight(6, 5)),
            Dense(source="a", target="a", weight=weight(6, 6)),
            Dense(source="a", target="b", weight=weight(4, 6)),
            Dense(source="b", target="b", sign="inhibitory", weight=-np.abs(weight(4, 4))),
        ),
        "bias-coded input": make.program(
            Input(shape=(2, 3, 4), message_bits=8),
            pop("a", (2, 3, 4), vth=200, bias_exponent=7, input_bias=True),
            pop("b", (3, 2, 3), vth=30, bias=4),
            pop("c", (3,)),
            Convolution(source="a", target="b", weight=weight(3, 2, 2, 2)),
            Dense(source="b", target="c", weight=weight(3, 18)),
        ),
        "synapses side by side, sparse": make.program(
            Input(shape=(2, 2, 2), message_bits=2),
            pop("a", (2, 2, 2), bias=20, vth=5),
            pop("b", (3,), vth=3),
            Convolution(source="input", target="a", weight=weight(2, 2, 1, 1)),
            Dense(source="input", target="a", weight=weight(8, 8) // 4 * 2),
            Sparse(
                source="a",
                target="b",
                shape=(3, 8),
                weight=np.array([4, 6, 8]),
                rows=np.array([0, 1, 2]),
                columns=np.array([7, 3, 2]),
            ),
            steps=9,
        ),
    }
    return found


def agree(program: Program, inputs: np.ndarray, found: Any) -> Any:
    expected = LoihiTarget().compile(program).run(inputs, rasters=True)
    wrong = [bits for bits in difference("netx", expected, found) if bits.different]
    assert wrong == [], program
    np.testing.assert_array_equal(found.output, expected.output)
    return expected


def test_constructs_on_real_lava_dl(need_netx: Path, messages: Any) -> None:
    made = constructs()
    jobs = [(program, messages(program, batch=3, seed=7)) for program in made.values()]
    assert {name: NetxTarget().unsupported(program) for name, program in made.items()} == {name: [] for name in made}
    traces = run_jobs(jobs, python=need_netx, rasters=True, workers=2, script=NETX)
    for (program, inputs), found in zip(jobs, traces, strict=True):
        expected = agree(program, inputs, found)
        assert all(raster.spikes.any() for raster in expected.rasters.values()), program


def random_program(seed: int) -> Program:
    """Return a Program, of which most have an exact form in netx: detours, branches, delays, all fields varied."""
    rng = np.random.default_rng(seed)

    def pick(*options: Any) -> Any:
        return options[rng.integers(len(options))]

    coded = int(rng.integers(0, 6)) == 0
    bits = 8 if coded else pick(0, 0, 1, 4, 8, 16)
    first = Input(shape=pick((5,), (2, 3), (2, 3, 4), (1, 5, 4)), message_bits=bits)

    def population(name: str, shape: tuple[int, ...], like: Population | None = None, **fields: Any) -> Population:
        exponent = pick(6, 6, 7, 0)
        size = pick(0, 20, 4095)
        bias = rng.integers(-size, size + 1, shape) if exponent else rng.integers(-63, 64, shape) * 64
        common = {
            "du": pick(4095, 4095, -1, 0, 1000),
            "dv": pick(0, 1, 2048, 4095, 4096),
            "vth": pick(0, 1, 50, 300, 5000, 131071),
        }
        if like is not None:
            common = {what: getattr(like, what) for what in common}
        return Population(name=name, shape=shape, **{"bias": bias, "bias_exponent": exponent, **common, **fields})

    def wires(source: str, before: tuple[int, ...], target: str, after: tuple[int, ...], delay: int = 0) -> Any:
        size = (int(np.prod(after)), int(np.prod(before)))
        high = pick(4, 128)
        low = pick(-high, -high, 0)
        weight = rng.integers(low, high, size) * 2
        shift = pick(0, 0, 0, 1, 3)
        exponent = pick(0, shift, -shift)
        if exponent < 0:
            weight = np.clip(weight >> shift << shift, -256, 255)
        common = {"source": source, "target": target, "exponent": exponent, "delay": delay}
        if pick(True, False):
            return Dense(**common, weight=weight)
        pairs = rng.choice(size[0] * size[1], int(rng.integers(1, size[0] * size[1] + 1)), replace=False)
        rows, columns = pairs // size[1], pairs % size[1]
        return Sparse(**common, shape=size, weight=weight[rows, columns], rows=rows, columns=columns)

    last = [("input", first.shape)]
    populations, synapses = [], []
    if coded:
        fields = {"bias_exponent": 6, "bias": np.full(first.shape, int(rng.integers(-99, 99)))}
        populations.append(population("coded", first.shape, None, input_bias=True, **fields))
        last = [("coded", first.shape)]
    for number in range(int(rng.integers(1, 4))):
        source, shape = last[-1]
        name = f"p{number}"
        if len(shape) == 3 and pick(True, False):
            groups = shape[0] if pick(True, False) else 1
            kernel = [min(int(rng.integers(1, 4)), size) for size in shape[1:]]
            conv = Convolution(
                source=source,
                target=name,
                weight=rng.integers(-40, 40, (groups * int(rng.integers(1, 3)), shape[0] // groups, *kernel)) * 2,
                stride=(int(rng.integers(1, 3)), 1),
                padding=(int(rng.integers(0, 2)), int(rng.integers(0, 3))),
                groups=groups,
                exponent=pick(0, 0, 2, -1),
                delay=pick(0, 0, 0, 2),
            )
            synapses.append(conv)
            populations.append(population(name, conv.output_shape(shape)))
        else:
            after = pick((3,), (2, 1, 2), (2, 3))
            delay = pick(0, 0, 0, 1, 5)
            # Side by side, around a layer, or simply one after another.
            detour = int(rng.integers(0, 4))
            synapses.append(wires(source, shape, name, after, delay))
            fields = {"du": 4095} if detour == 2 else {}
            populations.append(population(name, after, None, **fields))
            if detour == 1:
                twin = f"{name}b"
                populations.append(population(twin, (2,), populations[-1]))
                synapses.append(wires(source, shape, twin, (2,), delay))
                populations.append(population(f"{name}c", (4,)))
                synapses += [wires(name, after, f"{name}c", (4,)), wires(twin, (2,), f"{name}c", (4,))]
            elif detour == 2:
                populations.append(population(f"{name}c", (4,)))
                synapses += [wires(name, after, f"{name}c", (4,)), wires(source, shape, f"{name}c", (4,), delay + 1)]
            elif detour == 3:
                synapses.append(wires(source, shape, name, after, delay))
            elif pick(True, False):
                synapses.append(wires(name, after, name, after))
        last.append((populations[-1].name, populations[-1].shape))
    return Program(
        input=first,
        populations=tuple(populations),
        synapses=tuple(synapses),
        readout=Readout(kind=pick("spike_count", "first_spike", "membrane"), population=populations[-1].name),
        steps=int(rng.integers(1, 7)),
    )


def test_random_programs_on_real_lava_dl(need_netx: Path, messages: Any, share: float) -> None:
    drawn = [random_program(seed) for seed in range(int(DRAWN * share))]
    accepted = [program for program in drawn if not NetxTarget().unsupported(program)]
    assert len(accepted) >= ACCEPTED * share
    jobs = [(program, messages(program, batch=2, seed=index)) for index, program in enumerate(accepted)]
    traces = run_jobs(jobs, python=need_netx, rasters=True, workers=2, script=NETX)
    spiking = relayed = looping = 0
    for (program, inputs), found in zip(jobs, traces, strict=True):
        expected = agree(program, inputs, found)
        spiking += any(raster.spikes.any() for raster in expected.rasters.values())
        layers = netx_layers(program).layers
        looping += any(layer.loops is not None for layer in layers)
        relayed += any(member.relay for layer in layers for member in layer.members)
    # The batch must not be trivial.
    assert spiking > ACCEPTED * share / 2
    assert min(relayed, looping) >= 3 * share
