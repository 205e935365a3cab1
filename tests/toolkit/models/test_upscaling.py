import numpy as np
import pytest
import torch
from PIL import Image

import spikeproof as sp
from spikeproof.export.program import Population
from spikeproof.toolkit.config import CodingSettings, ModelSettings, Recipe
from spikeproof.toolkit.errors import InputError, RecipeError, UnsupportedError
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.models.upscaling import bicubic_weights, scale_of
from spikeproof.toolkit.network.attention import HDA
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.quantize import quantized_network


def spikesr(shape: tuple[int, int, int], scale: int, **settings: object) -> SpikingNetwork:
    model = ModelSettings(
        kind="spikesr", channels=[6], blocks=[2, 1], threshold=0.5, readout="membrane", gain=1.0, **settings
    )
    channels, height, width = shape
    recipe = Recipe(model=model, coding=CodingSettings(steps=3))
    return build_network(recipe, shape, channels * scale**2 * height * width).eval()


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 4, 6)])
@pytest.mark.parametrize("attention", ["none", "hda"])
def test_shape_and_scale(shape: tuple[int, int, int], scale: int, attention: str) -> None:
    network = spikesr(shape, scale, attention=attention)
    channels, height, width = shape
    outputs = network(torch.rand(2, *shape))
    assert outputs.shape == (2, channels * scale**2 * height * width)
    image = torch.nn.functional.pixel_shuffle(outputs.reshape(2, -1, height, width), scale)
    assert image.shape == (2, channels, scale * height, scale * width)
    assert scale_of(shape, outputs.shape[1]) == scale


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_skip_begins_with_pillows_bicubic_image(scale: int) -> None:
    small = np.random.default_rng(scale).uniform(0, 1, (9, 8)).astype(np.float32)
    parts = torch.nn.functional.conv2d(torch.from_numpy(small)[None, None], bicubic_weights(1, scale), padding=2)
    found = torch.nn.functional.pixel_shuffle(parts, scale)[0, 0].numpy()
    large = Image.fromarray(small).resize((8 * scale, 9 * scale), Image.Resampling.BICUBIC)
    edge = 2 * scale
    inside = (slice(edge, -edge),) * 2
    assert np.abs(found[inside] - np.asarray(large)[inside]).max() < 1e-5


def test_a_skip_is_one_more_sender() -> None:
    wires = spikesr((1, 4, 4), 2).wires()
    assert wires["group1_1_lif1"] == ("head_norm",)
    assert wires["group1_2_lif1"] == ("head_norm", "group1_1_main2_norm", "group1_1_beside_norm")
    assert wires["group2_1_lif1"] == ("head_norm", "group1_tail_norm")
    assert wires["last"] == ("head_norm", "group1_tail_norm", "group2_tail_norm")
    assert wires["image"] == ("pixels", "skip")


def test_without_attention_it_lowers_and_all_targets_agree() -> None:
    network = spikesr((1, 4, 5), 2)
    images = np.random.default_rng(0).uniform(0, 1, (6, 1, 4, 5)).astype(np.float32)
    quantized = quantized_network(network, 8)
    program = sp.lower(quantized, (1, 4, 5), check=images)
    assert program.readout.kind == "membrane"
    last = program.population("image")
    assert isinstance(last, Population)
    assert last.shape == (4, 4, 5)
    assert sp.agree(program, images, ("loihi", "onnx", "twin"), coder=quantized).equal
    # What the chip reads is what the quantized network answers, but for roundings of sums.
    meant = quantized(torch.from_numpy(images)).detach().numpy()
    found = sp.run(program, images, coder=quantized).output / program.largest_output
    assert np.abs(found - meant).max() < 0.03


def test_attention_is_refused_on_the_chip_with_the_way_out() -> None:
    with pytest.raises(UnsupportedError, match=r"multiplies features by features.*model\.attention = \"none\""):
        quantized_network(spikesr((1, 4, 4), 2, attention="hda"), 8)


def test_hda_scales_features_by_what_is_seen_over_time_and_channels() -> None:
    layer = HDA(3, 5)
    x = torch.randn(3, 2, 5, 4, 4)
    mean = x.mean((3, 4))
    expected = torch.empty_like(x)
    for sample in range(2):
        a = torch.nn.functional.conv1d(mean[None, :, sample], layer.time.weight, layer.time.bias, padding=1)[0]
        turned = mean[:, sample].T[None]
        b = torch.nn.functional.conv1d(turned, layer.channel.weight, layer.channel.bias, padding=1)[0]
        for step, channel in np.ndindex(3, 5):
            gate = torch.sigmoid(a[step, channel] * b[channel, step])
            expected[step, sample, channel] = x[step, sample, channel] * gate
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_outputs_that_are_no_larger_image_are_refused() -> None:
    with pytest.raises(InputError, match="10 outputs are no such image"):
        build_network(Recipe(model=ModelSettings(kind="spikesr", channels=[4])), (1, 4, 4), 10)
    with pytest.raises(InputError, match="same width"):
        build_network(Recipe(model=ModelSettings(kind="spikesr", channels=[4, 8])), (1, 4, 4), 64)


def test_attention_belongs_to_spikesr() -> None:
    with pytest.raises((RecipeError, ValueError), match="'attention' belongs to kind"):
        ModelSettings(attention="hda")
