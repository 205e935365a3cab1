"""Attacks on the deployed form: white box through the twin, and as a function of the integer simulator."""

import numpy as np
import pytest
import torch

from spikeproof.export.lowering.lower import lower
from spikeproof.export.nir.write import read_nir, write_nir
from spikeproof.export.program import Program
from spikeproof.hw_targets.loihi.simulator import LoihiTarget
from spikeproof.hw_targets.twin import Twin
from spikeproof.toolkit.attacks.base import predict
from spikeproof.toolkit.attacks.blind import HopSkipJump, Noise, Square
from spikeproof.toolkit.attacks.gradient import PGD
from spikeproof.toolkit.attacks.strong import SAPGD
from spikeproof.toolkit.attacks.suite import Transfer
from spikeproof.toolkit.attacks.victim import finely
from spikeproof.toolkit.coding import direct_integers
from spikeproof.toolkit.network.backward import Backward, attack_gradient
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.surrogates import KINDS, AdaptiveSharpness, Surrogate
from spikeproof.toolkit.quantize import quantized_network

Digits = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def program(spiking: SpikingNetwork, tmp_path_factory: pytest.TempPathFactory) -> Program:
    path = tmp_path_factory.mktemp("deployed") / "network.nir"
    write_nir(path, quantized_network(spiking, 8), (1, 8, 8))
    graph, sidecar = read_nir(path)
    return lower(graph, sidecar, str(path))


@pytest.fixture
def few(digits: Digits) -> Digits:
    return digits[0][:60], digits[1][:60]


def test_the_twin_falls_to_what_the_network_falls_to(program: Program, few: Digits) -> None:
    twin = Twin(program)
    robust = {
        attack.label: attack(twin, *few).robust.mean()
        for attack in (
            Noise(epsilon=0.08),
            PGD(epsilon=0.08, steps=10),
            SAPGD(epsilon=0.08, steps=25, backward=Backward(surrogate=AdaptiveSharpness())),
        )
    }
    noise, native, adaptive = robust.values()
    assert adaptive < native < noise


@pytest.mark.parametrize("kind", KINDS)
def test_the_twins_gradient_follows_the_surrogate(program: Program, few: Digits, kind: str) -> None:
    twin = Twin(program)
    native, found = twin.surrogate, {}
    for name, surrogate in (("sharp", Surrogate(kind, 4.0)), ("adaptive", AdaptiveSharpness(kind)), ("none", None)):
        with attack_gradient(twin, Backward(surrogate=surrogate)):
            x = torch.from_numpy(few[0][:4]).requires_grad_()
            found[name] = torch.autograd.grad(twin(x)[:, 3].sum(), x)[0]
        assert twin.surrogate is native
        assert bool(torch.isfinite(found[name]).all())
    assert not torch.equal(found["sharp"], found["none"])
    assert not torch.equal(found["adaptive"], found["none"])


def test_the_simulator_itself_can_be_attacked_without_gradients(program: Program, few: Digits) -> None:
    chip = LoihiTarget().compile(program)

    def counts(images: np.ndarray) -> np.ndarray:
        return chip.run(direct_integers(images, program.steps)).output

    images, labels = few[0][:20], few[1][:20]
    twin = Twin(program)
    np.testing.assert_array_equal(predict(counts, images), predict(twin, images))
    square = Square(epsilon=0.1, queries=60)
    np.testing.assert_array_equal(square(counts, images, labels).images, square(twin, images, labels).images)
    assert square(counts, images, labels).robust.sum() < Noise(epsilon=0.1)(counts, images, labels).robust.sum()
    made = HopSkipJump(epsilon=0.1, steps=2, queries=50)(lambda x: predict(counts, x), images[:3], labels[:3])
    assert made.distance <= 0.1 + 1e-6


def test_examples_of_the_float_network_transfer(program: Program, spiking: SpikingNetwork, few: Digits) -> None:
    backward = Backward(surrogate=AdaptiveSharpness())
    made = Transfer(
        attack=SAPGD(epsilon=0.1, steps=25, early_stop=False, backward=backward), source=spiking, source_name="float"
    )(Twin(program), *few)
    assert made.robust.mean() < Noise(epsilon=0.1)(Twin(program), *few).robust.mean() - 0.2


def test_what_moves_between_spikes_are_the_sums_of_the_read_out(program: Program, few: Digits) -> None:
    images = few[0][:8]
    logits, fine = finely(Twin(program), torch.from_numpy(images))
    assert torch.equal(logits, Twin(program)(torch.from_numpy(images)))
    trace = LoihiTarget().compile(program).run(direct_integers(images, program.steps), rasters=True)
    synapse = next(iter(program.incoming(program.readout.population)))
    sent = trace.rasters[synapse.source].spikes.reshape(program.steps, 8, -1).astype(np.int64)
    received = np.floor((sent @ synapse.matrix().T.astype(np.int64)) * 2.0**synapse.exponent).sum(0)
    lag = program.lag(synapse)
    assert lag == 0
    assert fine is not None
    np.testing.assert_array_equal(
        fine.numpy(),
        received / program.population(program.readout.population).vth,  # type: ignore[union-attr]
    )
