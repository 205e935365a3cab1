"""The search for worst flips: gradients against differences, and against trying every bit."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from spikeproof.eval.faults.chance import Judge
from spikeproof.eval.faults.memory import Memory
from spikeproof.eval.faults.search import gradients, search
from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout, Sparse
from spikeproof.hw_targets.twin import Twin
from spikeproof.toolkit.progress import silent


def small(seed: int = 0, bits: int = 3) -> Program:
    """A hidden layer of each kind of synapse, and a membrane that never fires."""
    rng = np.random.default_rng(seed)
    grid = 2 ** (9 - bits)

    def weight(*shape: int) -> np.ndarray:
        return rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape) * grid

    def neurons(name: str, shape: tuple[int, ...], vth: int) -> Population:
        return Population(name=name, shape=shape, vth=vth, du=4095, dv=2048, bias=rng.integers(-99, 99, shape))

    return Program(
        input=Input(shape=(1, 3, 3), message_bits=0),
        populations=(neurons("hidden", (2, 2, 2), 60), neurons("out", (3,), 131071)),
        synapses=(
            Convolution(source="input", target="hidden", bits=bits, weight=weight(2, 1, 2, 2)),
            Dense(source="hidden", target="out", bits=bits, weight=weight(3, 8)),
            Sparse(
                source="input",
                target="out",
                bits=bits,
                shape=(3, 9),
                weight=weight(3),
                rows=np.array([0, 1, 2]),
                columns=np.array([4, 2, 8]),
            ),
        ),
        readout=Readout(kind="membrane", population="out"),
        steps=3,
    )


def judge_of(program: Program, messages: Callable[..., np.ndarray], samples: int = 16) -> Judge:
    x = messages(program, samples, 1)
    judge = Judge(Memory(program), x, np.zeros(samples, int))
    judge.labels = judge.outputs([]).argmax(1)
    return judge


def test_gradients_of_the_last_layer_are_differences(messages: Callable[..., np.ndarray]) -> None:
    """A membrane that never fires is linear in the layer's weights and biases, but for the decay's rounding."""
    program = small()
    judge = judge_of(program, messages)

    def loss(changed: Program) -> float:
        logits = Twin(changed).answer(torch.from_numpy(judge.messages).float())
        return float(functional.cross_entropy(logits.double(), torch.from_numpy(judge.labels)))

    found = gradients(program, judge.messages, judge.labels)
    memory = judge.memory
    for kind, part in (("weight", 1), ("weight", 2), ("bias", 1)):
        field = next(f for f in memory.fields if (f.kind, f.part) == (kind, part))
        slopes = found[kind, part]
        assert slopes.shape == (field.words,)
        for word in range(field.words):
            address = field.first + word * field.bits
            up = memory.flipped([address])
            step = int(Memory(up).values(field)[word] - memory.values(field)[word])
            difference = (loss(up) - loss(program)) / step
            assert abs(difference - slopes[word]) < 0.05 * np.abs(slopes).max() + 1e-6


def test_the_first_flip_is_the_worst_of_all_where_all_are_tried(messages: Callable[..., np.ndarray]) -> None:
    """Thresholds and decays have no gradient, so every bit of them is tried."""
    judge = judge_of(small(3), messages)
    among = judge.memory.select(kind="vth")
    found = search(judge, among, field="vth", most=1, level=0.0, samples=99, clean=1.0, track=silent)
    assert found.tried == len(among)
    assert found.flips[0].accuracy == min(judge.accuracy([address]) for address in among)


def test_searched_flips_are_no_better_than_random_ones_and_say_what_they_did(
    messages: Callable[..., np.ndarray],
) -> None:
    judge = judge_of(small(5), messages)
    among = judge.memory.select(kind="weight")
    found = search(judge, among, field="weight", most=2, level=0.0, samples=99, clean=1.0, track=silent)
    rng = np.random.default_rng(0)
    pairs = [judge.accuracy(rng.choice(among, 2, replace=False)) for _ in range(100)]
    assert found.flips[-1].accuracy <= min(pairs)
    for flip in found.flips:
        assert abs(flip.after - flip.before) == 64 << flip.bit
    assert [flip.accuracy for flip in found.flips] == sorted((f.accuracy for f in found.flips), reverse=True)
    assert found.points == next((n for n, f in enumerate(found.flips, 1) if f.accuracy <= 0.95), None)


def test_it_stops_at_the_level(messages: Callable[..., np.ndarray]) -> None:
    judge = judge_of(small(5), messages)
    found = search(judge, judge.memory.select(), field=None, most=9, level=0.9, samples=99, clean=1.0, track=silent)
    assert found.reached == len(found.flips)
    assert found.flips[-1].accuracy <= 0.9
    assert all(flip.accuracy > 0.9 for flip in found.flips[:-1])
