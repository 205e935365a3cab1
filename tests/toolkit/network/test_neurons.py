"""Neurons against those of snnTorch and SpikingJelly, and CUBA against its equation in NumPy."""

import math

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.neurons import CUBA, PLIF, Delay, Integrator

STEPS, BATCH, WIDTH = 12, 3, 7


def currents(seed: int = 0, scale: float = 1.0) -> Tensor:
    """Return float64 currents (time, batch, neurons), some negative."""
    generator = torch.Generator().manual_seed(seed)
    return scale * (torch.rand(STEPS, BATCH, WIDTH, generator=generator, dtype=torch.float64) * 1.6 - 0.3)


def weighted(spikes: Tensor) -> Tensor:
    """Return a loss that tells every step, sample and neuron apart."""
    return (spikes * torch.linspace(-1, 2, spikes.numel(), dtype=spikes.dtype).view_as(spikes)).sum()


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_plif_is_snntorch_with_a_learned_beta(beta: float) -> None:
    x, y = currents().requires_grad_(), currents().requires_grad_()
    ours = PLIF(beta, 1.0, 2.0).double()
    theirs = snntorch.Leaky(
        beta=torch.tensor(beta, dtype=torch.float64),
        learn_beta=True,
        reset_mechanism="zero",
        spike_grad=snntorch.surrogate.atan(alpha=2.0),
    )
    mem, spikes = torch.zeros(BATCH, WIDTH, dtype=torch.float64), []
    for now in y:
        spike, mem = theirs(now, mem)
        spikes.append(spike)
    found = ours(x)
    assert 0 < found.mean() < 1
    assert torch.equal(found, torch.stack(spikes))
    weighted(found).backward()
    weighted(torch.stack(spikes)).backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-6)
    # d/dw = d/dbeta sigmoid'(w)
    torch.testing.assert_close(ours.leak.grad, theirs.beta.grad * beta * (1 - beta), rtol=1e-5, atol=1e-9)


def test_plif_is_spikingjelly_with_the_opposite_sign() -> None:
    """Fang et al. learn 1/tau = sigmoid(w), which is what a step forgets; here sigmoid(w) is what it keeps."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    x, y = currents(1).requires_grad_(), currents(1).requires_grad_()
    theirs = neuron.ParametricLIFNode(
        init_tau=4.0,
        decay_input=False,
        v_reset=0.0,
        detach_reset=True,
        surrogate_function=surrogate.ATan(2.0),
        step_mode="m",
    ).double()
    ours = PLIF(0.75, 1.0, 2.0).double()
    found, expected = ours(x), theirs(y)
    assert 0 < found.mean() < 1
    assert torch.equal(found, expected)
    weighted(found).backward()
    weighted(expected).backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(ours.leak.grad, -theirs.w.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5])
def test_plif_starts_between_0_and_1(beta: float) -> None:
    with pytest.raises(InputError, match="PLIF: beta"):
        PLIF(beta, 1.0, 2.0)


def test_cuba_is_snntorchs_synaptic_while_nothing_resets() -> None:
    """What it sends where no neuron fires twice, and all gradients, are those of ``Synaptic`` without a reset."""
    x, y = currents(2, 0.6).requires_grad_(), currents(2, 0.6).requires_grad_()
    threshold = 1.5
    theirs = snntorch.Synaptic(
        alpha=0.75,
        beta=0.625,
        threshold=threshold,
        reset_mechanism="none",
        spike_grad=snntorch.surrogate.atan(alpha=2.0),
    )
    syn = mem = torch.zeros(BATCH, WIDTH, dtype=torch.float64)
    spikes = []
    for now in y:
        spike, syn, mem = theirs(now, syn, mem)
        spikes.append(spike)
    # What comes after a neuron's first spike depends on the reset: judged up to it alone.
    fired = torch.stack(spikes).cumsum(0)
    before = (fired - torch.stack(spikes)) == 0
    assert 0.2 < before.double().mean() < 1
    found = CUBA(0.75, 0.625, threshold, 2.0)(x)
    assert torch.equal(found * before, torch.stack(spikes) * before)
    weighted(found * before).backward()
    weighted(torch.stack(spikes) * before).backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    gamma=st.floats(0, 0.95),
    beta=st.floats(0, 1),
    threshold=st.floats(0.3, 3.0),
    biased=st.booleans(),
)
def test_cuba_follows_its_equation(seed: int, gamma: float, beta: float, threshold: float, biased: bool) -> None:
    x = currents(seed)
    bias = torch.linspace(-0.2, 0.3, WIDTH, dtype=torch.float64) if biased else None
    neuron = CUBA(gamma, beta, threshold, 2.0, bias=bias)
    u, v, s = (np.zeros((BATCH, WIDTH)) for _ in range(3))
    expected = []
    for now in x.numpy():
        u = gamma * u + now
        v = beta * v * (1 - s) + u + (0 if bias is None else bias.numpy())
        # A voltage at the threshold to the last bit is where orders of addition decide.
        if (np.abs(v - threshold) < 1e-12).any():
            return
        s = (v > threshold).astype(np.float64)
        expected.append(s)
    np.testing.assert_array_equal(neuron(x).detach().numpy(), np.stack(expected))


def test_cubas_gradient_of_one_neuron_by_hand() -> None:
    """Two steps, no spike: L = s(1) sees x(0) through u and v: dL/dx(0) = S'(v1 - 1) (gamma + beta)."""
    x = torch.tensor([[[0.2]], [[0.1]]], dtype=torch.float64, requires_grad=True)
    CUBA(0.5, 0.25, 1.0, 2.0)(x)[1].sum().backward()
    v1 = 0.25 * 0.2 + 0.5 * 0.2 + 0.1
    slope = 1 / (1 + (math.pi * (v1 - 1)) ** 2)
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx([slope * 0.75, slope])


@pytest.mark.parametrize("gamma", [1.0, 1.5, -0.1])
def test_cubas_current_forgets(gamma: float) -> None:
    with pytest.raises(InputError, match="CUBA: a current"):
        CUBA(gamma, 0.5, 1.0, 2.0)


def test_steppers_are_their_scans() -> None:
    x = currents(3)
    for layer in (PLIF(0.6, 1.0, 2.0).double(), CUBA(0.4, 0.6, 1.0, 2.0), Delay(2), Integrator()):
        step = layer.stepper()
        torch.testing.assert_close(torch.stack([step(now) for now in x]), layer(x))
