"""AT, TRADES, RAT, SR, TGO's penalty, TRR, CAP, LFM: what each block of the design notes asks for."""

import copy
import math
from collections import OrderedDict
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from spikeproof.toolkit.config import TrainSettings
from spikeproof.toolkit.defences.adversarial import AT
from spikeproof.toolkit.defences.base import Defence
from spikeproof.toolkit.defences.cap import CAP
from spikeproof.toolkit.defences.lfm import LFM, masks
from spikeproof.toolkit.defences.rat import RAT
from spikeproof.toolkit.defences.sr import SR, rival
from spikeproof.toolkit.defences.tgo import TGO, penalty
from spikeproof.toolkit.defences.trades import TRADES, divergence
from spikeproof.toolkit.defences.trr import HEAD, TRR, reverse
from spikeproof.toolkit.errors import InputError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.quantize import quantized_network
from spikeproof.toolkit.train import seeded, train_network

from .conftest import batch_of, small


def trained(*defences: Defence, epochs: int = 2, network: SpikingNetwork | None = None) -> SpikingNetwork:
    network = network or small(norm=True)
    rng = np.random.default_rng(0)
    images, labels = rng.random((24, 1, 4, 4), dtype=np.float32), rng.integers(0, 3, 24)
    train_network(network, images, labels, TrainSettings(seed=3, batch=8), epochs=epochs, rate=0.01, defences=defences)
    return network


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items() if HEAD not in name)


# Adversarial training


@pytest.mark.parametrize("attack", ["pgd", "r-fgsm", "sa-pgd"])
def test_adversarial_examples_stay_in_the_ball_raise_the_loss_and_leave_the_network_alone(attack: str) -> None:
    network = small(norm=True).train()
    batch = batch_of(network)
    before = copy.deepcopy(network.state_dict())
    with seeded(0):
        draws = [AT(attack=attack, epsilon=0.3).inputs(batch) for _ in range(10)]
    made = draws[0]
    assert float((made - batch.images.detach()).abs().max()) <= 0.3 + 1e-6
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    network.eval()
    clean, *moved = (nn.functional.cross_entropy(network(x), batch.labels).item() for x in (batch.images, *draws))
    # One gradient from a random start need not raise the loss every time.
    assert np.mean(moved) > clean


def test_trades_divergence_is_that_of_the_definition_and_0_for_equal_answers() -> None:
    logits, reference = torch.randn(5, 3), torch.randn(5, 3)
    p, q = reference.double().softmax(1).numpy(), logits.double().softmax(1).numpy()
    assert float(divergence(logits, reference)) == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-5)
    assert float(divergence(logits, logits)) == 0


def test_trades_neighbour_is_in_the_ball_and_differs_more_than_a_random_one() -> None:
    network = small().eval()
    batch, method = batch_of(network), TRADES(epsilon=0.3)
    made = method.neighbour(batch)
    assert float((made - batch.images.detach()).abs().max()) <= 0.3 + 1e-6
    noise = (batch.images + 0.001 * torch.randn_like(batch.images)).clamp(0, 1)
    assert divergence(network(made), batch.logits) > divergence(network(noise), batch.logits)
    assert float(method.loss(batch).detach()) >= 0


@given(st.integers(0, 2**31), st.floats(0.001, 0.2))
@settings(max_examples=25, deadline=None)
def test_rat_pulls_weights_toward_orthogonal_rows_which_it_leaves_alone(seed: int, pull: float) -> None:
    network = small(conv=False)
    linear = dict(network.named_layers())["linear"]
    assert isinstance(linear, nn.Linear)
    generator = torch.Generator().manual_seed(seed)
    orthogonal = torch.linalg.qr(torch.randn(16, 3, generator=generator))[0].T
    with torch.no_grad():
        linear.weight.copy_(orthogonal)
    RAT(pull=pull).after_step(network)
    assert torch.allclose(linear.weight, orthogonal, atol=1e-5)

    def distance() -> float:
        return float((linear.weight @ linear.weight.T - torch.eye(3)).norm().detach())

    with torch.no_grad():
        linear.weight.copy_(orthogonal * (0.3 + torch.rand(3, 1, generator=generator)))
    before = distance()
    RAT(pull=pull).after_step(network)
    assert distance() < before


def test_rat_leaves_quantized_weights_alone_whose_size_means_something() -> None:
    network = quantized_network(small(conv=True).eval(), 8)
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    RAT(pull=0.1).after_step(network)
    assert before
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.named_parameters())


# SR


@given(st.integers(0, 2**31), st.sampled_from(["squared", "l1"]))
@settings(max_examples=25, deadline=None)
def test_sr_slope_is_the_l1_norm_of_the_gradient_for_a_linear_model(seed: int, form: str) -> None:
    layers = small(conv=False, last=False, steps=1).double()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nn.init.normal_(dict(layers.named_layers())["linear"].weight)
    batch = batch_of(layers.float(), seed=seed)
    layers.double()
    batch.images = batch.images.detach().double().requires_grad_()
    batch.logits = layers(batch.images)
    method = SR(step=1e-6, form=form)
    logits = layers(batch.images)
    weight = dict(layers.named_layers())["linear"].weight.detach()
    y, j = batch.labels, rival(logits, batch.labels)
    if form == "squared":
        p = torch.sigmoid(logits.gather(1, y[:, None]) - logits.gather(1, j[:, None]))
        by_hand = p * (1 - p) * (weight[y] - weight[j])
    else:
        p = logits.softmax(1)
        by_hand = p.gather(1, y[:, None]) * (weight[y] - p @ weight)
    assert torch.allclose(method.slope(batch), by_hand.abs().sum(1), rtol=1e-3, atol=1e-6)
    slope = method.slope(batch)
    expected = method.weight * (slope**2 if form == "squared" else slope).mean()
    assert torch.allclose(method.loss(batch), expected)


def test_sr_ratio_of_adversarial_and_random_change_is_that_of_the_norms() -> None:
    """rho_adv / rho_rand = 3 |g|_1^2 / |g|_2^2 for a linear function, with rho_rand drawn."""
    rng = np.random.default_rng(1)
    gradient, epsilon = rng.normal(size=64), 0.1
    change = rng.uniform(-epsilon, epsilon, (200_000, 64)) @ gradient
    adversarial = (epsilon * np.sign(gradient) @ gradient) ** 2
    assert adversarial / (change**2).mean() == pytest.approx(
        3 * np.abs(gradient).sum() ** 2 / (gradient**2).sum(), rel=0.05
    )


def test_sr_of_weight_0_does_not_change_the_gradients_of_the_loss() -> None:
    plain, network = small(), small()
    for weight, other in zip(
        trained(network=plain, epochs=1).parameters(),
        trained(SR(weight=0.0), network=network, epochs=1).parameters(),
        strict=True,
    ):
        assert torch.equal(weight, other)


# TGO's penalty and schedule


@given(st.floats(0.1, 2), st.floats(0.05, 1))
def test_tgo_penalty_is_0_far_from_the_threshold_and_delta_on_it(threshold: float, delta: float) -> None:
    far = torch.tensor([threshold - delta, threshold + delta, threshold + 3 * delta, threshold - 2 * delta]).double()
    assert float(penalty(far, threshold, delta)) == pytest.approx(0, abs=1e-6)
    assert float(penalty(torch.full((3, 2), threshold, dtype=torch.float64), threshold, delta)) == pytest.approx(delta)


def test_tgo_schedule_goes_from_0_to_its_weight() -> None:
    method = TGO(weight=0.4)
    assert method.schedule(0.0) == 0
    assert method.schedule(1.0) == pytest.approx(0.4)
    assert method.schedule(0.25) == pytest.approx(0.2 * (1 - math.cos(math.pi / 4)))
    steps = [method.schedule(k / 20) for k in range(21)]
    assert steps == sorted(steps)


def test_tgo_loss_is_the_penalty_on_all_layers_membranes() -> None:
    network = small().train()
    method = TGO(sigma=0.0, weight=2.0)
    method.prepare(network)
    batch = batch_of(network, progress=1.0)
    found: list[torch.Tensor] = []

    def gradients() -> torch.Tensor:
        batch.logits = network(batch.images)
        found.append(method.loss(batch))
        return found[0]

    method.around(batch, gradients)
    expected = 0.0
    for name, fed in (("lif", "conv"), ("last", "linear")):
        currents: list[torch.Tensor] = []
        network.spikes(batch.images, lambda at, out, fed=fed, to=currents: to.append(out) if at == fed else None)  # type: ignore[misc]
        layer = dict(network.named_layers())[name]
        membrane, kept = [], torch.zeros(())
        for now in currents[0]:
            membrane.append(layer.beta * kept + now)
            kept = membrane[-1] * (membrane[-1] <= layer.threshold)
        expected += (0.5 - (torch.stack(membrane) - layer.threshold).abs()).clamp(min=0).mean().item()
    assert float(found[0].detach()) == pytest.approx(2 * expected, rel=1e-5)


# TRR


@given(st.integers(1, 6), st.integers(1, 4))
def test_trr_reversal_is_an_involution(steps: int, samples: int) -> None:
    signal = torch.rand(steps * samples, 3, 2)
    assert torch.equal(reverse(reverse(signal, samples), samples), signal)
    assert torch.equal(reverse(signal, samples)[:samples], signal[-samples:])


def test_trr_divergence_of_a_palindrome_is_exactly_0_and_of_another_signal_is_not() -> None:
    network, method = small(last=False), TRR(reversed="input")
    half = torch.rand(3, 5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    for signal, zero in ((torch.cat([half, half.flip(0)]), True), (torch.cat([half, 0 * half]), False)):
        logits = network(signal)
        with method.backward_in_time(network, 5):
            backward = network(signal)
        assert (float(method.divergence(logits, backward).detach()) == 0) is zero


def test_trr_with_weights_of_0_is_plain_training() -> None:
    method, network = TRR(consistency=0.0, hybrid=0.0), small(norm=True)
    method.prepare(network)
    assert same(trained(method, network=network), trained())


def test_trr_head_learns_and_the_first_spikes_are_what_is_reversed() -> None:
    method, network = TRR(), small()
    method.prepare(network)
    before = getattr(network, HEAD).weight.detach().clone()
    trained(method, network=network)
    assert not torch.equal(getattr(network, HEAD).weight, before)
    seen: list[torch.Tensor] = []
    watch = lambda name, out: seen.append(out) if name == "lif" else None  # noqa: E731
    image = torch.rand(2, 1, 4, 4)
    network.spikes(image, watch)
    with method.backward_in_time(network, 2):
        network.spikes(image, watch)
    assert torch.equal(seen[1], seen[0].flip(0))
    assert not torch.equal(seen[1], seen[0])


def test_trr_refuses_loops() -> None:
    network = small()
    layers = OrderedDict(network.named_layers())
    order = ["conv", "lif", "back", "flatten", "linear", "last"]
    layers["back"] = nn.Identity()
    network.rebuild(OrderedDict((name, layers[name]) for name in order), {"lif": ("conv", "back")})
    with pytest.raises(InputError, match="trr: a network with loops"):
        trained(TRR(hybrid=0.0), network=network)


# LFM


@given(st.integers(4, 12), st.integers(2, 10), st.booleans())
@settings(max_examples=15, deadline=None)
def test_lfm_masks_the_stated_share_of_features(side: int, channels: int, rows: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = masks(3000, (channels, side, side + 1), 0.5, 0.5, rows)
    covered = ~drawn.isnan()
    inside = covered.flatten(1).any(1).float().mean()
    assert float(inside) == pytest.approx(0.5, rel=0.1)
    a_channel = covered.flatten(2).any(2).float().sum(1)
    assert set(a_channel.tolist()) <= {0.0, max(round(0.5 * channels), 1)}
    assert float(drawn[covered].min()) >= 0
    assert float(drawn[covered].max()) <= 1
    if rows:
        assert torch.equal(covered, covered.any(3, keepdim=True).expand_as(covered))


def test_lfm_covers_p_times_channels_times_the_mean_area() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        covered = ~masks(20_000, (8, 16, 16), 0.15, 0.5, False).isnan()
    assert float(covered.float().mean()) == pytest.approx(0.15 * 0.5 * (0.02 + 0.4) / 2, rel=0.2)
    # One rectangle a channel: rows and columns that are touched make up all of it.
    box = covered.any(3, keepdim=True) & covered.any(2, keepdim=True)
    assert torch.equal(box, covered)


def test_lfm_masks_every_step_alike_only_in_training_and_leaves_no_hook() -> None:
    network, method = small(), LFM(probability=1.0)
    batch = batch_of(network)
    seen: list[torch.Tensor] = []

    def gradients() -> torch.Tensor:
        for _ in range(2):
            network.spikes(batch.images, lambda name, out: seen.append(out) if name == "conv" else None)
        return batch.logits.sum()

    plain: list[torch.Tensor] = []
    network.spikes(batch.images, lambda name, out: plain.append(out) if name == "conv" else None)
    method.around(batch, gradients)
    changed = seen[0] != plain[0]
    assert bool(changed.any())
    assert all(torch.equal(step, changed[0]) for step in changed)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(network(batch.images), batch.logits)


# CAP


def test_cap_warm_up_is_plain_training_bit_for_bit() -> None:
    assert same(trained(CAP(warmup=2)), trained())
    assert not same(trained(CAP(warmup=1)), trained())


@pytest.mark.parametrize("number", [0, 1])
def test_cap_undoes_its_perturbation_and_takes_the_gradient_where_it_leads(number: int) -> None:
    network = small(norm=True).train()
    batch = batch_of(network, epoch=9, number=number)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def gradients() -> torch.Tensor:
        weights = torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()
        seen.append((batch.images.detach().clone(), weights))
        network.zero_grad()
        batch.images = batch.images.detach().requires_grad_()
        batch.logits = network(batch.images)
        loss = nn.functional.cross_entropy(batch.logits, batch.labels)
        loss.backward()
        return loss

    before = copy.deepcopy(network.state_dict())
    plain = copy.deepcopy(network)
    plain(batch.images)
    CAP(rho=0.1, epsilon=0.5, warmup=5).around(batch, gradients)
    (images, weights), (moved_images, moved_weights) = seen
    assert torch.equal(batch.images, images)
    if number:
        assert float((moved_weights - weights).norm()) == pytest.approx(0.1, rel=1e-4)
        assert torch.equal(moved_images, images)
    else:
        lengths = (moved_images - images).flatten(1).norm(dim=1)
        assert torch.allclose(lengths, torch.full_like(lengths, 0.5), rtol=1e-4)
        assert torch.equal(moved_weights, weights)
    for name, tensor in network.named_parameters():
        assert torch.equal(tensor, before[name]), name
    # Statistics are those of one plain pass.
    for name, buffer in network.named_buffers():
        assert ".neuron." in name or torch.equal(buffer, plain.state_dict()[name]), name


def test_cap_weight_step_is_sharpness_aware_minimization() -> None:
    """One SGD step equals w - rate * gradient at w + rho g / |g|, computed with plain torch."""
    network = small()
    batch = batch_of(network, epoch=9, number=1)
    reference = copy.deepcopy(network)

    def loss_of(net: nn.Module) -> torch.Tensor:
        net.zero_grad()
        batch.logits = net(batch.images)
        loss = nn.functional.cross_entropy(batch.logits, batch.labels)
        loss.backward()
        return loss

    CAP(rho=0.2, warmup=0).around(batch, lambda: loss_of(network))
    loss_of(reference)
    norm = torch.nn.utils.parameters_to_vector([w.grad for w in reference.parameters() if w.grad is not None]).norm()
    with torch.no_grad():
        for weight in reference.parameters():
            assert weight.grad is not None
            weight.add_(0.2 * weight.grad / norm)
    loss_of(reference)
    for mine, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-6)


def test_a_hook_that_fails_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    network = small()
    batch = batch_of(network, epoch=9, number=1)
    before = copy.deepcopy(network.state_dict())

    def fail() -> torch.Tensor:
        raise InputError("no")

    for method in (CAP(warmup=0), LFM(), TRR(), TGO()):
        with pytest.raises(InputError):
            method.around(batch, fail)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.modules())
