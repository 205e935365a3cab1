"""Networks without residual blocks: the default, perceptrons, VGGs, a recurrent and a delayed one."""

from torch import nn

from ..coding import Coder
from ..errors import InputError
from ..kernels.norm import Norm
from ..network.network import SpikingNetwork
from ..network.neurons import Delay
from ..settings import ModelSettings
from .builder import Builder, Shape


def _check_halves(shape: Shape, times: int) -> None:
    if min(shape[1:]) >> times < 1:
        raise InputError(
            f"model.channels: images of {shape[1]}x{shape[2]} pixels cannot be halved {times} times; use fewer entries"
        )


def conv_network(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build conv-norm-neurons-pool for each entry of ``channels``, then linear-neurons.

    Convolutions are 3x3 with padding 1, pools 2x2 with stride 2.

    Args:
        settings: the recipe's model section.
        coder: as of :class:`.layers.SpikingNetwork`.
        shape: (channels, height, width) of one step of the encoding.
        classes: number of output neurons.

    Raises:
        InputError: the images are too small for that many pools.
    """
    _check_halves(shape, len(settings.channels))
    build = Builder(settings, shape)
    into, height, width = shape
    for number, out in enumerate(settings.channels, start=1):
        build.add(f"conv{number}", nn.Conv2d(into, out, 3, padding=1, bias=False))
        build.add(f"norm{number}", Norm(out))
        build.neuron(f"lif{number}")
        build.pooled(f"pool{number}")
        into, height, width = out, height // 2, width // 2
    build.add("flatten", nn.Flatten())
    build.read(into * height * width, classes, f"lif{len(settings.channels) + 1}")
    return build.network(coder)


def vgg_network(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build a VGG: stages of 3x3 convolutions and a pool, then the linear layers ``hidden`` and the read-out.

    The arguments and errors are those of :func:`conv_network`.
    """
    _check_halves(shape, len(settings.channels))
    build = Builder(settings, shape)
    into, height, width = shape
    for stage, (out, convolutions) in enumerate(zip(settings.channels, settings.stages, strict=True), start=1):
        for number in range(1, convolutions + 1):
            build.conv(f"cell{stage}_{number}", into, out)
            into = out
        build.pooled(f"pool{stage}")
        height, width = height // 2, width // 2
    build.add("flatten", nn.Flatten())
    features = into * height * width
    for number, size in enumerate(settings.hidden, start=1):
        build.add(f"hidden{number}_linear", nn.Linear(features, size))
        build.neuron(f"hidden{number}")
        features = size
    build.read(features, classes)
    return build.network(coder)


def mlp_network(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build linear-neurons for each entry of ``hidden``, then the read-out: the first network of every tutorial.

    The arguments are those of :func:`conv_network`.
    """
    build = Builder(settings, shape)
    build.add("flatten", nn.Flatten())
    features = shape[0] * shape[1] * shape[2]
    for number, size in enumerate(settings.hidden, start=1):
        build.add(f"linear{number}", nn.Linear(features, size))
        build.neuron(f"lif{number}")
        features = size
    build.read(features, classes)
    return build.network(coder)


def recurrent_network(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build a dense network whose hidden layer feeds back to itself one step later; width 8 times ``channels[0]``.

    The arguments are those of :func:`conv_network`.
    """
    build = Builder(settings, shape)
    hidden = 8 * settings.channels[0]
    build.add("flatten", nn.Flatten())
    build.add("enter", nn.Linear(shape[0] * shape[1] * shape[2], hidden))
    build.neuron("cell", "enter", "loop")
    build.add("loop", nn.Linear(hidden, hidden, bias=False), "cell")
    build.wiring["linear"] = ("cell",)
    build.read(hidden, classes)
    return build.network(coder)


def delayed_network(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build a convolutional network whose read-out sees the hidden spikes at once, and again one step later.

    The arguments and errors are those of :func:`conv_network`.
    """
    _check_halves(shape, 1)
    build = Builder(settings, shape)
    out = settings.channels[0]
    cell = build.conv("cell", shape[0], out)
    size = out * (shape[1] // 2) * (shape[2] // 2)
    build.add("late", Delay(1), cell)
    for name, source in (("now", cell), ("then", "late")):
        build.pooled(f"{name}_pool", source)
        build.add(f"{name}_flat", nn.Flatten())
        build.add(name, nn.Linear(size, classes, bias=name == "now"))
    build.output("last", "now", "then")
    return build.network(coder)
