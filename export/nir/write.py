"""NIR files: the network as a graph of physical nodes, and a side-car with what the format cannot hold.

NIR knows neither time step, nor input coding, nor weight grid, nor read-out. They stand in ``network.json`` beside
``network.nir``, bound to it by its SHA-256.
"""

import itertools
import re
from pathlib import Path
from typing import Annotated, Literal

import nir
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import nn

from ...toolkit.coding import LEVELS, MESSAGE_BITS, Coder, Direct, make_coder
from ...toolkit.errors import FileError, UnsupportedError
from ...toolkit.files import atomic, digest, read_bytes, read_json, write_json
from ...toolkit.network.joins import Join
from ...toolkit.network.layers import Membrane, Scanned
from ...toolkit.network.network import INPUT, SpikingNetwork, spiking
from ...toolkit.network.neurons import Delay
from ...toolkit.network.signals import Delays, Read
from ...toolkit.quantize import InputGrid
from ...toolkit.settings import Coding, CodingSettings
from .dynamics import Settings
from .layers import TIME_STEP, Grid, Site, nodes
from .read import read_graph

NAME = r"[A-Za-z0-9_-]{1,90}"


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
        every_step: whether they are read at each step.
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
    every_step: Annotated[bool, Field(exclude_if=lambda found: not found)] = False
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


class _Writer:
    """Collects nodes and edges; each layer becomes one node, or a chain of them."""

    def __init__(self, network: SpikingNetwork, shape: tuple[int, int, int]) -> None:
        self.network = network
        self.nodes: dict[str, nir.NIRNode] = {INPUT: nir.Input({"input": np.array(shape)})}
        self.edges: list[tuple[str, str]] = []
        self.grids: dict[str, Grid] = {}
        self.signals = {INPUT: torch.zeros(1, *shape)}
        self.spikes: dict[str, bool] = {INPUT: network.coder.binary}

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
        told = [self.spikes.get(source, False) for source in sources]
        if not isinstance(layer, Scanned):
            with torch.no_grad():
                signal = layer(signal)
        if isinstance(layer, Delay | Delays):
            self.spikes[name] = all(told)
        elif isinstance(layer, nn.Flatten):
            self.spikes[name] = told == [True]
        site = Site(before, tuple(signal.shape[1:]), spiking=told == [True])
        try:
            made = nodes(layer, site)
        except UnsupportedError as error:
            raise UnsupportedError(f"layer {name!r}: {error}") from error
        if site.grid is not None:
            self.grids[name] = site.grid
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
        # The graph's own output says what is read.
        if not isinstance(layer, InputGrid | Read):
            writer.layer(name, layer)
    name = network.readout
    if not isinstance(network.layers.get_submodule(name), Membrane):
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
    if isinstance(coder, Direct) and coder.levels != LEVELS:
        raise UnsupportedError(f"direct coder of {coder.levels} levels: networks are quantized with input of 8 bits")
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
            every_step=network.every_step,
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
