"""The networks that are timed: one convolutional architecture as each package writes it, and two Programs for Lava."""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CHANNELS, SIDE, CLASSES, GAIN = (16, 32), 28, 10, 10.0


def stateless() -> "OrderedDict[str, nn.Module]":
    """Return the layers that all packages share: those of the default recipe on 28 x 28 pixels."""
    torch.manual_seed(0)
    first, second = CHANNELS
    return OrderedDict(
        conv1=nn.Conv2d(1, first, 3, padding=1, bias=False),
        norm1=nn.BatchNorm2d(first),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(first, second, 3, padding=1, bias=False),
        norm2=nn.BatchNorm2d(second),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        linear=nn.Linear(second * (SIDE // 4) ** 2, CLASSES),
    )


def ours(steps: int) -> Any:
    """Return our network."""
    from spikeproof.toolkit.config import ModelSettings
    from spikeproof.toolkit.models import conv_network

    torch.manual_seed(0)
    return conv_network(ModelSettings(channels=list(CHANNELS)), steps, (1, SIDE, SIDE), CLASSES)


def residual(steps: int) -> Any:
    """Return a SEW-ResNet of 17 convolutions of 16 channels."""
    from spikeproof.toolkit.config import parse_recipe
    from spikeproof.toolkit.models import build_network

    model = {"kind": "sew", "channels": [16], "blocks": [8]}
    return build_network(
        parse_recipe({"model": model, "coding": {"steps": steps}}, "speed"), (1, 28, 28), CLASSES, seed=0
    )


class Snntorch(nn.Module):
    """The step loop of snnTorch's tutorials."""

    def __init__(self, steps: int) -> None:
        import snntorch
        from snntorch import surrogate

        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleDict(stateless())
        self.cells = nn.ModuleList(
            snntorch.Leaky(beta=0.5, spike_grad=surrogate.atan(alpha=2.0), reset_mechanism="zero") for _ in range(3)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        state = [cell.reset_mem() for cell in self.cells]
        use, spikes = self.layers, []
        for _ in range(self.steps):
            x, state[0] = self.cells[0](use["norm1"](use["conv1"](images)), state[0])
            x, state[1] = self.cells[1](use["norm2"](use["conv2"](use["pool1"](x))), state[1])
            x, state[2] = self.cells[2](use["linear"](use["flatten"](use["pool2"](x))), state[2])
            spikes.append(x)
        return GAIN * torch.stack(spikes).mean(0)


class Spikingjelly(nn.Module):
    """SpikingJelly's multi-step mode: stateless layers get time folded into the batch, neurons loop inside."""

    def __init__(self, steps: int) -> None:
        from spikingjelly.activation_based import functional, layer, neuron, surrogate

        super().__init__()
        self.steps, self.reset = steps, functional.reset_net

        def cell() -> nn.Module:
            return neuron.LIFNode(
                tau=2.0,
                decay_input=False,
                v_threshold=1.0,
                v_reset=0.0,
                surrogate_function=surrogate.ATan(2.0),
                detach_reset=True,
                step_mode="m",
            )

        use, fold = stateless(), layer.SeqToANNContainer
        self.net = nn.Sequential(
            fold(use["conv1"], use["norm1"]),
            cell(),
            fold(use["pool1"], use["conv2"], use["norm2"]),
            cell(),
            fold(use["pool2"], use["flatten"], use["linear"]),
            cell(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        self.reset(self.net)
        return GAIN * self.net(images.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)).mean(0)


class Norse(nn.Module):
    """Norse's LIF box neurons, lifted over time; the nearest that it has (it resets by jumping to ``v_reset``)."""

    def __init__(self, steps: int) -> None:
        import norse.torch as norse

        super().__init__()
        self.steps = steps
        use, lift = stateless(), norse.Lift

        def cell() -> Any:
            rate = torch.as_tensor(500.0)  # a factor of 0.5 a step of 1 ms
            return lift(
                norse.LIFBoxCell(p=norse.LIFBoxParameters(tau_mem_inv=rate, v_th=torch.as_tensor(0.5)), dt=0.001)
            )

        self.parts = nn.ModuleList(
            [
                lift(nn.Sequential(use["conv1"], use["norm1"])),
                cell(),
                lift(nn.Sequential(use["pool1"], use["conv2"], use["norm2"])),
                cell(),
                lift(nn.Sequential(use["pool2"], use["flatten"], use["linear"])),
                cell(),
            ]
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        x: Any = images.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)
        for part in self.parts:
            x = part(x)
            x = x[0] if isinstance(x, tuple) else x
        return GAIN * x.mean(0)


def digits(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits, enlarged to 28 x 28 pixels on the 8-bit grid, with their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.pad(np.kron(data.images / 16, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2)))
    # With the strides that a data loader gives: those of [:, None] look like channels-last, another path of PyTorch.
    images = (np.rint(255 * images) / 255).astype(np.float32).reshape(-1, 1, SIDE, SIDE)
    places = np.arange(samples) % len(images)
    return images[places], data.target[places].astype(np.int64)


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Give ``target`` the weights and statistics of ``source``; both list the same layers in the same order."""
    given = [x for name, x in source.state_dict().items() if ".neuron." not in name and not name.startswith("cells")]
    wanted = [x for name, x in target.state_dict().items() if ".neuron." not in name and not name.startswith("cells")]
    with torch.no_grad():
        for into, tensor in zip(wanted, given, strict=True):
            into.copy_(tensor)


def trained(steps: int, batches: int) -> Any:
    """Return our network after some training on :func:`digits`, in evaluation mode."""
    network = ours(steps)
    network.once = True
    images, labels = (torch.from_numpy(array) for array in digits(64 * batches))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    network.train()
    for x, y in zip(images.split(64), labels.split(64), strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network.eval()


def program_of(network: Any) -> Any:
    """Return the Program of a network, its weights rounded to 8 bits without tuning."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from spikeproof.export.lowering.lower import lower
    from spikeproof.export.nir.write import read_nir, write_nir
    from spikeproof.toolkit.quantize import quantized_network

    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.nir"
        write_nir(path, quantized_network(network, 8), (1, SIDE, SIDE))
        graph, sidecar = read_nir(path)
        return lower(graph, sidecar, path.name)


def random_program(kind: str, steps: int) -> Any:
    """Return a Program on binary spikes: ``mlp``, 784-N-10, or ``conv``, two convolutions on 34 x 34 x 2."""
    from spikeproof.export.program import Convolution, Dense, Input, Population, Program, Readout

    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-60, 64, shape)

    def cells(name: str, shape: tuple[int, ...], active: float) -> Population:
        # A threshold of about one standard deviation of a step's input keeps neurons in action.
        vth = int(72 * np.sqrt(active))
        none = np.zeros(shape, np.int64)
        return Population(name=name, shape=shape, du=4095, dv=2048, vth=vth, bias_exponent=0, bias=none)

    if kind.startswith("mlp"):
        width = int(kind.partition("-")[2] or 512)
        layers: list[Any] = [Dense(source="input", target="hidden", weight=weights(width, 784))]
        layers.append(Dense(source="hidden", target="out", weight=weights(10, width)))
        parts = [cells("hidden", (width,), 78), cells("out", (10,), width / 10)]
        first = Input(shape=(784,), message_bits=0)
    else:
        first = Input(shape=(2, 34, 34), message_bits=0)
        half = {"stride": (2, 2), "padding": (1, 1)}
        layers = [
            Convolution(source="input", target="one", weight=weights(8, 2, 3, 3), padding=(1, 1)),
            Convolution(source="one", target="two", weight=weights(16, 8, 3, 3), **half),
            Dense(source="two", target="out", weight=weights(10, 16 * 17 * 17)),
        ]
        parts = [cells("one", (8, 34, 34), 1.8), cells("two", (16, 17, 17), 7.2), cells("out", (10,), 462)]
    readout = Readout(kind="spike_count", population="out")
    return Program(input=first, populations=tuple(parts), synapses=tuple(layers), readout=readout, steps=steps)


def spikes(program: Any, batch: int, density: float = 0.1) -> np.ndarray:
    """Return random binary input (time, batch, ...) of a given activity."""
    rng = np.random.default_rng(1)
    return (rng.random((program.steps, batch, *program.input.shape)) < density).astype(np.int32)
