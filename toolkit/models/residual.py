"""Residual networks: SEW-ResNets, Spiking-ResNets and wide ones, of any depth and width."""

from torch import nn

from ..coding import Coder
from ..errors import InputError
from ..kernels.norm import Norm
from ..network.joins import Join, Mix
from ..network.network import SpikingNetwork
from ..settings import ModelSettings
from .builder import Builder, Shape

EXPANSION = 4
"""How much wider a bottleneck block ends than its 3x3 convolution."""


def _resnet(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int, sew: bool) -> SpikingNetwork:
    build = Builder(settings, shape)
    into = settings.channels[0]
    sent = (
        build.conv("stem", shape[0], into, kernel=7, stride=2)
        if settings.stem == "imagenet"
        else build.conv("stem", shape[0], into)
    )
    if settings.stem == "imagenet":
        build.halved()
    if settings.pool != "none":
        sent = build.pooled("stem_pool", kernel=3, padding=1)
        build.halved()
    deep = (settings.depth or 0) >= 50
    for stage, (width, blocks) in enumerate(zip(settings.channels, settings.stages, strict=True), start=1):
        for number in range(1, blocks + 1):
            name, stride = f"block{stage}_{number}", 2 if stage > 1 and number == 1 else 1
            out = width * EXPANSION if deep else width
            first = build.conv(f"{name}a", into, width, sent, kernel=1 if deep else 3, stride=1 if deep else stride)
            middle = build.conv(f"{name}b", width, width, first, stride=stride) if deep else first
            kernel = 1 if deep else 3
            end = (build.conv if sew else build.norm)(f"{name}c", width, out, middle, kernel=kernel)
            if stride > 1 or into != out:
                sent = (build.conv if sew else build.norm)(f"{name}s", into, out, sent, kernel=1, stride=stride)
            sent = build.add(name, Join(settings.residual), end, sent) if sew else build.neuron(name, end, sent)
            into = out
            if stride > 1:
                build.halved()
    build.global_average(sent)
    build.add("flatten", nn.Flatten())
    build.read(into, classes)
    return build.network(coder)


def sew_network(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build a SEW-ResNet: the join is after the neurons, g(neurons(norm(conv(...))), x).

    g is ``residual``: add, and, iand. Where the shape changes, the shortcut x is a 1x1 convolution, norm and neurons.
    From depth 50 on blocks are bottlenecks. (Fang et al., arXiv 2102.04159, section 4.)

    Args:
        settings: the recipe's model section.
        coder: as of :class:`.layers.SpikingNetwork`.
        shape: (channels, height, width) of one step of the encoding.
        classes: number of output neurons.
    """
    return _resnet(settings, coder, shape, classes, sew=True)


def spiking_resnet(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build a Spiking-ResNet: the neurons are after the join, neurons(norm(conv(...)) + x).

    Where the shape changes, the shortcut x is a 1x1 convolution and norm. The arguments are those of
    :func:`sew_network`.
    """
    return _resnet(settings, coder, shape, classes, sew=False)


def wide_resnet(settings: ModelSettings, coder: Coder | int, shape: Shape, classes: int) -> SpikingNetwork:
    """Build a wide residual network: norm and neurons before each convolution, blocks and shortcuts mixed convexly.

    x <- share conv(neurons(norm(conv(neurons(norm(x)))))) + (1 - share) x, share learned a block; where the shape
    changes, the shortcut is a 1x1 convolution of the first neurons' spikes. (Zagoruyko and Komodakis, arXiv 1605.07146,
    with the mixing that arXiv 2405.20355 trains.) The arguments are those of :func:`sew_network`.

    Raises:
        InputError: ``residual`` is not ADD, which this network does not have.
    """
    if settings.residual != "add":
        raise InputError(f'model.residual: kind = "wrn" mixes membranes\' input, it has no {settings.residual!r}')
    build = Builder(settings, shape)
    into = settings.channels[0]
    sent = build.weights("stem", shape[0], into)
    for stage, (width, blocks) in enumerate(zip(settings.channels, settings.stages, strict=True), start=1):
        out = width * settings.widen
        for number in range(1, blocks + 1):
            name, stride = f"block{stage}_{number}", 2 if stage > 1 and number == 1 else 1
            build.add(f"{name}a_norm", Norm(into), sent)
            first = build.neuron(f"{name}a")
            build.conv(f"{name}b", into, out, first, stride=stride)
            end = build.weights(f"{name}c", out, out)
            if stride > 1 or into != out:
                sent = build.weights(f"{name}s", into, out, first, kernel=1, stride=stride)
            sent, into = build.add(name, Mix(), end, sent), out
            if stride > 1:
                build.halved()
    build.add("end_norm", Norm(into), sent)
    build.neuron("end")
    build.global_average()
    build.add("flatten", nn.Flatten())
    build.read(into, classes)
    return build.network(coder)
