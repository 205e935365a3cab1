import numpy as np
import pytest
import torch
from torch.nn import functional

from spikeproof.toolkit.config import CodingSettings, ModelSettings, Recipe
from spikeproof.toolkit.errors import InputError, UnsupportedError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.similarity import DSA, Deformable, joined, patches_of
from spikeproof.toolkit.quantize import quantized_network


def test_patches_are_cut_row_by_row_and_joined_again() -> None:
    x = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).float()
    patches = patches_of(x, 2)
    assert patches.shape == (2, 6, 3, 2, 2)
    for number, (row, column) in enumerate(np.ndindex(2, 3)):
        assert torch.equal(patches[:, number], x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2])
    assert torch.equal(joined(patches, 4, 6), x)


def kernel_of(layer: Deformable, channels: int) -> torch.Tensor:
    """Return the weights of a 3 x 3 convolution that reads the same places."""
    return layer.weights.weight.reshape(channels, 3, 3, channels).permute(0, 3, 1, 2)


def test_without_offsets_a_deformable_convolution_is_a_convolution() -> None:
    layer = Deformable(4)
    x = torch.randn(2, 4, 6, 5)
    expected = functional.conv2d(x, kernel_of(layer, 4), layer.weights.bias, padding=1)
    assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("move", [(1.0, 0.0), (0.0, -1.0), (0.5, 0.25)])
def test_offsets_move_what_is_read(move: tuple[float, float]) -> None:
    layer = Deformable(3)
    with torch.no_grad():
        layer.offsets.bias.copy_(torch.tensor(move).repeat(9))
    x = torch.randn(1, 3, 8, 8)
    down, right = move
    rows, columns = int(np.floor(down)), int(np.floor(right))
    parts = [  # Between pixels: the four around, each by the area opposite.
        (rows + i, columns + j, abs(1 - i - (down - rows)) * abs(1 - j - (right - columns)))
        for i, j in np.ndindex(2, 2)
    ]
    padded = functional.pad(x, (3, 3, 3, 3))
    moved = sum(part * padded[:, :, 2 + i : 12 + i, 2 + j : 12 + j] for i, j, part in parts)
    expected = functional.conv2d(torch.as_tensor(moved), kernel_of(layer, 3), layer.weights.bias)
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_the_match_is_the_patch_most_like_it_and_never_itself() -> None:
    level = DSA(2, 32, 48).eval().fine
    x = torch.randn(3, 2, 32, 48)
    patches = patches_of(x, 16)
    chosen = level.chosen(patches)
    means = patches.mean((3, 4)).numpy()
    for image in range(3):
        for one in range(6):
            cosines = [
                -np.inf if other == one else float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
                for other, (a, b) in enumerate((means[image, one], means[image, other]) for other in range(6))
            ]
            assert int(chosen[image, one].argmax()) == int(np.argmax(cosines))
            assert chosen[image, one].sum() == pytest.approx(1)
    # While training, chance has a say, and the choice stays one patch.
    level.train()
    torch.manual_seed(0)
    drawn = torch.stack([level.chosen(patches) for _ in range(30)])
    assert ((drawn - drawn.round()).abs() < 1e-6).all()
    assert torch.diagonal(drawn, dim1=2, dim2=3).abs().max() == 0
    assert (drawn.std(0) > 0).any()


def test_what_a_patch_gets_is_of_its_match_and_steps_do_not_mix() -> None:
    torch.manual_seed(1)
    layer = DSA(3, 32, 32).eval().double()
    x = torch.randn(2, 2, 3, 32, 32, dtype=torch.double)
    found = layer(x)
    assert found.shape == x.shape
    one = layer(x[1:, :1])
    assert torch.allclose(found[1:, :1], one)
    x.requires_grad_(True)
    match = int(layer.fine.chosen(patches_of(x[0], 16))[0, 0].argmax())
    # The perceptron and the coarse level aside: the finer level's first patch, by its inputs.
    (slope,) = torch.autograd.grad(layer.fine(x[0])[0, :, :16, :16].sum(), x)
    places = patches_of(slope[0], 16)[0].abs().amax((1, 2, 3))
    assert places[0] > 0
    assert places[match] > 0
    assert slope[1].abs().max() == 0
    assert slope[0, 1].abs().max() == 0


@pytest.mark.parametrize("attention", ["dsa", "both"])
def test_a_network_with_it_trains_and_is_refused_on_the_chip(attention: str) -> None:
    model = ModelSettings(
        kind="spikesr", channels=[4], blocks=[1], threshold=0.5, readout="membrane", gain=1.0, attention=attention
    )
    recipe = Recipe(model=model, coding=CodingSettings(steps=2))
    network = build_network(recipe, (1, 32, 32), 4 * 32 * 32)
    outputs = network(torch.rand(2, 1, 32, 32))
    assert outputs.shape == (2, 4 * 32 * 32)
    (outputs - torch.rand_like(outputs)).abs().mean().backward()
    unused = [name for name, one in network.named_parameters() if one.grad is None or not one.grad.abs().sum()]
    # Steps of offsets that are 0 still have a slope; what has none would never learn.
    assert not [name for name in unused if "attention" in name], unused
    with pytest.raises(UnsupportedError, match=r"multiplies features by features.*model\.attention = \"none\""):
        quantized_network(network.eval(), 8)
    with pytest.raises(InputError, match="at least 32 x 32 and a multiple of 16, not 16 x 32"):
        build_network(recipe, (1, 16, 32), 4 * 16 * 32)
