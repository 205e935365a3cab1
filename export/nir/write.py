"""NIR files: the network as a graph of physical nodes, and a side-car with what the format cannot hold.

NIR knows neither time step, nor input coding, nor weight grid, nor read-out. They stand in ``network.json`` beside
``network.nir``, bound to it by its SHA-256.
"""

import itertools
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import nir
import numpy as np
import torch
from brevitas.nn import QuantConv2d, QuantLinear
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import nn

from ...toolkit.coding import MESSAGE_BITS, Coder, Direct, make_coder
from ...toolkit.errors import FileError, UnsupportedError
from ...toolkit.files import atomic, digest, read_bytes, read_json, write_json
from ...toolkit.network.joins import Join
from ...toolkit.network.network import INPUT, SpikingNetwork, spiking
from ...toolkit.network.neurons import CUBA, LIF, Delay, Integrator, Neuron
from ...toolkit.quantize import InputGrid
from ...toolkit.settings import Coding, CodingSettings
from .dynamics import Settings
from .read import read_graph

NAME = r"[A-Za-z0-9_-]{1,90}"
TIME_STEP = 1e-4
"""Seconds a step in exported graphs: snnTorch's own choice; the number cancels out as long as the side-car keeps it."""


class Grid(BaseModel):
    """A weight's grid: integer multiples of ``step``, ``bits`` wide."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    bits: Annotated[int, Field(ge=2, le=8)]
    step: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SideCar(BaseModel):
    """What a NIR file cannot hold.

    Attributes:
        sha256: of the NIR file it belongs to.
        time_step: seconds.
        steps: time steps a sample.
        coding: how images become input: "direct", or another coder's settings.
        input_bits: bits of an input message; 0 means binary spikes.
        reset: the membrane after a spike.
        readout: how classes are read.
        gain: scale of the logits.
        grids: weight grid a node.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    version: Literal[1] = 1
    sha256: str
    time_step: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    steps: Annotated[int, Field(ge=1, le=2**16)]
    coding: Literal["direct"] | Coding = "direct"
    input_bits: Annotated[int, Field(ge=0, le=24)] = MESSAGE_BITS
    reset: Literal["zero"] = "zero"
    readout: Literal["spike_count", "membrane"] = "spike_count"
    gain: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    grids: dict[str, Grid]

    @property
    def settings(self) -> Settings:
        """What else the file leaves open: membranes start where they reset to."""
        return Settings(self.time_step, reset=self.reset, start="v_reset")

    @property
    def coder(self) -> Coder:
        """What makes input of images."""
        return Direct(self.steps) if self.coding == "direct" else make_coder(self.coding)

    @property
    def levels(self) -> int:
        """The input message that stands for 1.0."""
        return int(2**self.input_bits) - 1 if self.coding == "direct" else self.coder.levels

    @model_validator(mode="after")
    def _agrees(self) -> "SideCar":
        wrong = self.input_bits < 1 if self.coding == "direct" else self.input_bits != self.coder.message_bits
        if wrong or self.coder.steps != self.steps:
            raise ValueError(f"input_bits {self.input_bits} or steps {self.steps} do not belong to the {self.coder}")
        return self


def _pair(value: int | tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([value, value] if isinstance(value, int) else value)


def _lif(layer: LIF, shape: tuple[int, ...]) -> nir.NIRNode:
    threshold, zero = np.full(shape, layer.threshold), np.zeros(shape)
    if layer.beta >= 1:
        # v <- v + dt R I: no leak, no time constant.
        return nir.IF(r=np.full(shape, 1 / TIME_STEP), v_threshold=threshold, v_reset=zero)
    # v <- v + (dt / tau) (R I - v) equals v <- beta v + I for tau = dt / (1 - beta) and R = tau / dt.
    tau = np.full(shape, TIME_STEP / (1 - layer.beta))
    return nir.LIF(tau=tau, r=tau / TIME_STEP, v_leak=zero, v_threshold=threshold, v_reset=zero)


def _cuba(layer: CUBA, shape: tuple[int, ...]) -> nir.NIRNode:
    rest = np.zeros(shape)
    if layer.bias is not None:
        rest = rest + layer.bias.detach().double().numpy().reshape(-1, *[1] * (len(shape) - 1))
    taus = {"tau_syn": TIME_STEP / (1 - layer.gamma), "tau_mem": TIME_STEP / (1 - layer.beta)}
    # i <- i + dt / tau_syn (w_in I - i),  v <- v + dt / tau_mem (v_leak + R i - v)
    return nir.CubaLIF(
        **{name: np.full(shape, tau) for name, tau in taus.items()},
        r=np.full(shape, taus["tau_mem"] / TIME_STEP),
        v_leak=rest * taus["tau_mem"] / TIME_STEP,
        v_threshold=np.full(shape, layer.threshold),
        v_reset=np.zeros(shape),
        w_in=np.full(shape, taus["tau_syn"] / TIME_STEP),
    )


def _neuron(name: str, layer: Neuron | Integrator, shape: tuple[int, ...]) -> nir.NIRNode:
    if isinstance(layer, Integrator):
        return nir.I(r=np.full(shape, 1 / TIME_STEP))
    if isinstance(layer, CUBA):
        if layer.beta >= 1:
            raise UnsupportedError(f"layer {name!r}: NIR has no CubaLIF whose membrane does not leak; use beta below 1")
        return _cuba(layer, shape)
    assert isinstance(layer, LIF)
    _check_lif(name, layer)
    return _lif(layer, shape)


def _check_lif(name: str, layer: LIF) -> None:
    neuron = layer.neuron
    reason = layer.unlike()
    if reason is not None:
        raise UnsupportedError(f"layer {name!r}: {reason}")
    if neuron.reset_mechanism != "zero":
        raise UnsupportedError(
            f"layer {name!r}: reset {neuron.reset_mechanism!r} does not exist on Loihi's LIF, and NIR would silently "
            "turn it into a hard reset; train with reset to zero"
        )
    if neuron.beta.numel() != 1 or neuron.threshold.numel() != 1:
        raise UnsupportedError(f"layer {name!r}: beta and threshold must be one number a layer, as on Loihi")


class _Writer:
    """Collects nodes and edges; each layer becomes one node, or a chain of them."""

    def __init__(self, network: SpikingNetwork, shape: tuple[int, int, int]) -> None:
        self.network = network
        self.nodes: dict[str, nir.NIRNode] = {INPUT: nir.Input({"input": np.array(shape)})}
        self.edges: list[tuple[str, str]] = []
        self.grids: dict[str, Grid] = {}
        self.signals = {INPUT: torch.zeros(1, *shape)}
        self.spikes: dict[str, bool] = {INPUT: False}

    def layer(self, name: str, layer: nn.Module) -> None:
        """Append one layer."""
        sources = self.network.sources(name)
        if name in (*self.nodes, "output") or not re.fullmatch(NAME, name):
            raise UnsupportedError(f"layer {name!r}: give it another name: unique, of letters, digits, '_' and '-'")
        signal = next(self.signals[source] for source in sources if source in self.signals)
        before = tuple(signal.shape[1:])
        self.spikes[name] = spiking(layer)
        if isinstance(layer, Join):
            self._gate(name, layer, before, sources)
            return
        if isinstance(layer, Neuron | Integrator):
            made = [_neuron(name, layer, before)]
        elif isinstance(layer, Delay):
            made = [nir.Delay(np.full(before, layer.steps * TIME_STEP))]
            self.spikes[name] = all(self.spikes.get(source, False) for source in sources)
        else:
            with torch.no_grad():
                signal = layer(signal)
            binary = len(sources) == 1 and self.spikes.get(sources[0], False)
            if isinstance(layer, nn.Flatten):
                self.spikes[name] = binary
            made = self._stateless(name, layer, before, tuple(signal.shape[1:]), binary)
        self.signals[name] = signal
        names = [name] if len(made) == 1 else [f"{name}_sum", name]
        self.nodes.update(zip(names, made, strict=True))
        self.edges += [(source, names[0]) for source in sources]
        self.edges += list(itertools.pairwise(names))

    def _gate(self, name: str, layer: Join, shape: tuple[int, ...], sources: tuple[str, ...]) -> None:
        """Append AND or IAND: a threshold of a + s, or of s - a."""
        if not all(self.spikes.get(source, False) for source in sources):
            raise UnsupportedError(f"layer {name!r}: {layer.kind.upper()} is of binary spikes; put neurons before it")
        inner, shortcut = sources
        if layer.kind == "iand":
            self.nodes[f"{name}_not"] = nir.Scale(np.full(shape, -1.0))
            self.edges.append((inner, f"{name}_not"))
            inner = f"{name}_not"
        self.nodes[name] = nir.Threshold(np.full(shape, 1.5 if layer.kind == "and" else 0.5))
        self.edges += [(inner, name), (shortcut, name)]
        self.signals[name] = self.signals[shortcut]

    def _stateless(
        self, name: str, layer: nn.Module, before: tuple[int, ...], after: tuple[int, ...], spiking: bool
    ) -> list[nir.NIRNode]:
        """Return the nodes of a layer without state.

        Args:
            name: of the layer.
            layer: any module.
            before: shape of a sample that it receives.
            after: shape that it sends.
            spiking: whether it receives the spikes of one layer.
        """
        if isinstance(layer, QuantConv2d | QuantLinear):
            quantized = layer.quant_weight()
            self.grids[name] = Grid(bits=int(quantized.bit_width), step=float(quantized.scale))
            weight = quantized.value.detach().numpy()
            bias = None if layer.bias is None else layer.bias.detach().numpy()
            if isinstance(layer, QuantLinear):
                return [nir.Linear(weight=weight) if bias is None else nir.Affine(weight=weight, bias=bias)]
            return [
                nir.Conv2d(
                    input_shape=before[1:],
                    weight=weight,
                    stride=_pair(layer.stride),
                    padding=_pair(layer.padding),
                    dilation=_pair(layer.dilation),
                    groups=layer.groups,
                    # The format demands a bias here; zeros are none.
                    bias=np.zeros(len(weight), dtype=np.float32) if bias is None else bias,
                )
            ]
        if isinstance(layer, nn.MaxPool2d):
            if not spiking:
                raise UnsupportedError(
                    f"layer {name!r}: max pooling is an OR of spikes; put it right after a LIF layer"
                )
            if layer.ceil_mode or _pair(layer.dilation).max() > 1:
                raise UnsupportedError(f"layer {name!r}: max pooling with ceil_mode or dilation has no exact NIR form")
            pool = nir.SumPool2d(_pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding))
            return [pool, nir.Threshold(np.full(after, 0.5))]
        if isinstance(layer, nn.AvgPool2d):
            counted = layer.count_include_pad or not _pair(layer.padding).any()
            if layer.ceil_mode or not counted or layer.divisor_override is not None:
                raise UnsupportedError(
                    f"layer {name!r}: average pooling with ceil_mode, another divisor or one that leaves out the "
                    "padding has no NIR form"
                )
            return [nir.AvgPool2d(_pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding))]
        if isinstance(layer, nn.Flatten):
            return [nir.Flatten({"input": np.array(before)}, start_dim=0, end_dim=-1)]
        raise UnsupportedError(f"layer {name!r}: {type(layer).__name__} has no exact form in NIR; remove or replace it")


def to_nir(network: SpikingNetwork, shape: tuple[int, int, int]) -> tuple[nir.NIRGraph, dict[str, Grid]]:
    """Return the graph of a quantized network, and the weight grid of each of its nodes.

    Max pooling of spikes, an OR, becomes sum pooling and a threshold of 1/2; AND and IAND of a and s thresholds of
    a + s and of s - a. Joins and loops are edges that meet.

    Args:
        network: from :func:`.quantize.quantized_network`.
        shape: (channels, height, width) of one step of its input.

    Raises:
        UnsupportedError: a layer has no exact form; named with the reason.
    """
    writer = _Writer(network, shape)
    for name, layer in network.named_layers():
        if not isinstance(layer, InputGrid):
            writer.layer(name, layer)
    if not isinstance(layer, Neuron | Integrator):
        raise UnsupportedError("the last layer must be LIF (classes are its spike counts) or an integrator (membrane)")
    nodes = writer.nodes | {"output": nir.Output({"output": np.array(writer.signals[name].shape[1:])})}
    # Shapes were computed here, by running the layers; the package's own inference is wrong for some (docs/nir.md).
    return nir.NIRGraph(nodes, [*writer.edges, (name, "output")], type_check=False), writer.grids


def write_nir(path: Path, network: SpikingNetwork, shape: tuple[int, int, int]) -> SideCar:
    """Write ``path`` and its side-car ``path`` with suffix ``.json``, and return the side-car.

    Args:
        path: of the NIR file.
        network: from :func:`.quantize.quantized_network`.
        shape: (channels, height, width) of an image.
    """
    coder = network.coder
    graph, grids = to_nir(network, coder.encoded_shape(shape))
    with atomic(path) as temporary:
        nir.write(str(temporary), graph)
        sidecar = SideCar(
            sha256=digest(temporary.read_bytes()),
            time_step=TIME_STEP,
            steps=network.steps,
            coding="direct" if isinstance(coder, Direct) else CodingSettings.of(coder.settings),
            input_bits=coder.message_bits,
            readout="membrane" if network.membrane else "spike_count",
            gain=network.gain,
            grids=grids,
        )
    write_json(path.with_suffix(".json"), sidecar.model_dump(mode="json"))
    return sidecar


def read_nir(path: Path) -> tuple[nir.NIRGraph, SideCar]:
    """Return the graph in ``path`` and its side-car.

    Raises:
        FileError: one of the two is missing, corrupt or foreign, or they do not belong together.
    """
    data = read_bytes(path)
    beside = path.with_suffix(".json")
    try:
        sidecar = SideCar.model_validate(read_json(beside))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FileError(f"{beside}: key {where}: {first['msg']}; export again") from error
    if sidecar.sha256 != digest(data):
        raise FileError(f"{path}: is not the file that {beside.name} describes (SHA-256 differs); export again")
    return read_graph(path), sidecar
