"""What runs where, found by asking: small Programs and layers, each with one construct, put to every target."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from ...export.program import Convolution, Dense, Graded, Input, Population, Program, Readout, SigmaDelta, Sparse
from ...hw_targets.family import FAMILIES, get_family
from ...toolkit.errors import UnsupportedError
from ...toolkit.network.joins import Join, Kind, Mix
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.network.neurons import CUBA, LIF, PLIF, Delay, Integrator, Neuron
from ...toolkit.network.population import Population as Cells
from .asked import Answer, everywhere


def _population(shape: tuple[int, ...], name: str = "b", **options: Any) -> Population:
    values: dict[str, Any] = {"du": 4095, "dv": 512, "vth": 20, "bias": np.zeros(shape, dtype=np.int32)}
    return Population(name=name, shape=shape, **{**values, **options})


def _dense(source: str, target: str, size: tuple[int, int], **options: Any) -> Dense:
    weight = (np.arange(size[0] * size[1]).reshape(size) % 41 - 7) * 2
    return Dense(source=source, target=target, weight=weight, **options)


def _convolution(source: str, target: str, size: tuple[int, ...] = (2, 2, 3, 3), **options: Any) -> Convolution:
    weight = (np.arange(np.prod(size)).reshape(size) % 41 - 7) * 2
    return Convolution(source=source, target=target, weight=weight, **options)


def _program(*synapses: Any, populations: Any = None, bits: int = 0, readout: Any = "spike_count") -> Program:
    """Input (2, 5, 5) -> a (6,) -> b (4,), or other parts."""
    if populations is None:
        populations = (_population((6,), "a"), _population((4,)))
    return Program(
        input=Input(shape=(2, 5, 5), message_bits=bits),
        populations=populations,
        synapses=synapses or (_dense("input", "a", (6, 50)), _dense("a", "b", (4, 6))),
        readout=Readout(population=populations[-1].name, kind=readout),
        steps=4,
    )


def _changed(**options: Any) -> Program:
    return _program(populations=(_population((6,), "a", **options), _population((4,))))


def _convolved(shape: tuple[int, int, int], size: tuple[int, ...] = (2, 2, 3, 3), **options: Any) -> Program:
    return _program(
        _convolution("input", "a", size, **options),
        _dense("a", "b", (4, int(np.prod(shape)))),
        populations=(_population(shape, "a"), _population((4,))),
    )


def _graded(join: bool) -> Program:
    one = np.arange(6)
    units = Graded(name="g", shape=(6,), vth=0, message_bits=11)
    ends = [
        Sparse(source=name, target="g", shape=(6, 6), weight=np.full(6, 2), rows=one, columns=one, delay=delay)
        for name, delay in ((("a", 1), ("c", 0)) if join else (("a", 0),))
    ]
    more = (_population((6,), "c"),) if join else ()
    between = (_dense("a", "c", (6, 6)),) if join else ()
    populations = (_population((6,), "a"), *more, units, _population((4,)))
    return _program(_dense("input", "a", (6, 50)), *between, *ends, _dense("g", "b", (4, 6)), populations=populations)


def _sigma_delta(image: bool) -> Program:
    def part(name: str, shape: tuple[int, ...], **options: Any) -> SigmaDelta:
        return SigmaDelta(name=name, shape=shape, bias=np.zeros(shape, dtype=np.int32), **options)

    shape = (2, 3, 3) if image else (6,)
    wires = _convolution("i", "a") if image else _dense("i", "a", (6, 50))
    return _program(
        wires,
        _dense("a", "b", (4, int(np.prod(shape)))),
        populations=(
            part("i", (2, 5, 5), vth=1, activation="unit", input_bias=True),
            part("a", shape, vth=2),
            part("b", (4,), vth=0, activation="unit", sends="sigma"),
        ),
        bits=6,
        readout="membrane",
    )


def _pooled() -> Program:
    ones = Convolution(
        source="a", target="p", weight=np.full((2, 1, 2, 2), 2), stride=(2, 2), groups=2, sign="excitatory"
    )
    populations = (_population((2, 4, 4), "a"), _population((2, 2, 2), "p", dv=4095, vth=1), _population((4,)))
    return _program(_convolution("input", "a", (2, 2, 2, 2)), ones, _dense("p", "b", (4, 8)), populations=populations)


PROGRAMS: dict[str, Callable[[], Program]] = {
    "dense synapses, LIF with leak": _program,
    "LIF without leak (IF)": lambda: _changed(dv=0),
    "synaptic current (CUBA)": lambda: _changed(du=1000),
    "bias a neuron, with exponent": lambda: _changed(bias=np.arange(6), bias_exponent=6),
    "sparse synapses": lambda: _program(
        Sparse(
            source="input",
            target="a",
            shape=(6, 50),
            weight=np.arange(6) * 40 - 40,
            rows=np.arange(6),
            columns=np.arange(6),
        ),
        _dense("a", "b", (4, 6)),
    ),
    "weights of one sign": lambda: _program(
        _dense("input", "a", (6, 50)), Dense(source="a", target="b", weight=np.full((4, 6), 3), sign="excitatory")
    ),
    "weight exponent above 0": lambda: _program(_dense("input", "a", (6, 50), exponent=2), _dense("a", "b", (4, 6))),
    "weight exponent below 0": lambda: _program(_dense("input", "a", (6, 50), exponent=-2), _dense("a", "b", (4, 6))),
    "convolution, padding": lambda: _convolved((2, 5, 5), padding=(1, 1)),
    "convolution, stride": lambda: _convolved((2, 2, 2), stride=(2, 2)),
    "convolution, dilation": lambda: _convolved((2, 1, 1), dilation=(2, 2)),
    "convolution, groups": lambda: _convolved((2, 3, 3), (2, 1, 3, 3), groups=2),
    "convolution, weight exponent": lambda: _convolved((2, 3, 3), exponent=-2),
    "OR pooling of spikes": _pooled,
    "delays": lambda: _program(_dense("input", "a", (6, 50)), _dense("a", "b", (4, 6), delay=3)),
    "two synapses into one population": lambda: _program(
        _dense("input", "a", (6, 50)), _dense("a", "b", (4, 6)), _dense("input", "b", (4, 50), delay=1)
    ),
    "unbalanced paths": lambda: _program(
        _dense("input", "a", (6, 50)), _dense("a", "b", (4, 6)), _dense("input", "b", (4, 50))
    ),
    "recurrent synapses": lambda: _program(
        _dense("input", "a", (6, 50)), _dense("a", "b", (4, 6)), _dense("a", "a", (6, 6))
    ),
    "window that starts early": lambda: _changed(start=0),
    "graded input, 8 bits": lambda: _program(bits=8),
    "bias-coded input": lambda: _program(
        _dense("a", "b", (4, 50)),
        populations=(_population((2, 5, 5), "a", bias_exponent=6, input_bias=True), _population((4,))),
        bits=8,
    ),
    "graded spikes": lambda: _graded(False),
    "join of graded spikes": lambda: _graded(True),
    "sigma-delta neurons": lambda: _sigma_delta(False),
    "sigma-delta neurons behind a convolution": lambda: _sigma_delta(True),
    "read-out by first spike": lambda: _program(readout="first_spike"),
    "read-out by membrane": lambda: _program(readout="membrane"),
}


def _network(layers: dict[str, nn.Module], wiring: dict[str, tuple[str, ...]] | None = None) -> SpikingNetwork:
    return SpikingNetwork(OrderedDict(layers), 4, 10.0, wiring)


def _lif(**options: Any) -> LIF:
    layer = LIF(options.pop("beta", 0.5), 1.0, 2.0)
    layer.neuron.reset_mechanism = options.pop("reset", "zero")
    return layer


def _between(layers: dict[str, nn.Module], columns: int, **options: Any) -> SpikingNetwork:
    """Return a convolution and LIF, the layers in question, then a linear layer and LIF."""
    start = {"conv": nn.Conv2d(1, 2, 3, padding=1), "lif": _lif(**options)}
    return _network({**start, **layers, "flatten": nn.Flatten(), "linear": nn.Linear(columns, 3), "last": _lif()})


def _of(neurons: Neuron) -> SpikingNetwork:
    return _between({"more": nn.Conv2d(2, 2, 1), "norm": nn.BatchNorm2d(2), "cell": neurons}, 128)


def _gated(kind: Kind) -> SpikingNetwork:
    layers = dict(_joined().named_layers())
    order = ["conv", "lif", "inner", "cell", "join", "flatten", "linear", "last"]
    layers["join"] = Join(kind)
    return _network({name: layers[name] for name in order}, {"join": ("cell", "lif")})


def _mixed() -> SpikingNetwork:
    layers = dict(_joined().named_layers()) | {"skip": nn.Conv2d(2, 2, 1), "mix": Mix()}
    layers |= {"norm": nn.BatchNorm2d(2), "after": _lif()}
    order = ["conv", "lif", "inner", "skip", "mix", "norm", "after", "flatten", "linear", "last"]
    return _network({name: layers[name] for name in order}, {"skip": ("lif",), "mix": ("inner", "skip")})


def _shortcut() -> SpikingNetwork:
    return _network(dict(_joined().named_layers()), {"cell": ("inner", "lif")})


def _read_by_membrane() -> SpikingNetwork:
    layers = dict(_between({}, 128).named_layers()) | {"last": Integrator()}
    return _network(layers)


def _joined() -> SpikingNetwork:
    layers = {
        "conv": nn.Conv2d(1, 2, 3, padding=1),
        "lif": _lif(),
        "inner": nn.Conv2d(2, 2, 3, padding=1),
        "cell": _lif(),
        "flatten": nn.Flatten(),
        "linear": nn.Linear(128, 3),
        "last": _lif(),
    }
    return _network(layers, {"flatten": ("lif", "cell")})


def _looped(over_two: bool) -> SpikingNetwork:
    layers: dict[str, nn.Module] = {
        "flatten": nn.Flatten(),
        "enter": nn.Linear(64, 4),
        "cell": _lif(),
        "linear": nn.Linear(4, 3),
        "last": _lif(),
    }
    back = "last" if over_two else "cell"
    layers = {**layers, "back": nn.Linear(3 if over_two else 4, 4, bias=False)}
    order = (
        ["flatten", "enter", "cell", "linear", "last", "back"]
        if over_two
        else [
            "flatten",
            "enter",
            "cell",
            "back",
            "linear",
            "last",
        ]
    )
    if over_two:
        layers |= {"out": nn.Linear(3, 3), "end": _lif()}
        order += ["out", "end"]
    wiring = {"cell": ("enter", "back"), "back": (back,), "linear": ("cell",), "out": ("last",)}
    return _network({name: layers[name] for name in order}, {k: v for k, v in wiring.items() if k in order})


def _linear(cell: Neuron, last: nn.Module | None = None) -> SpikingNetwork:
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten(), "enter": nn.Linear(64, 6), "cell": cell}
    return _network({**layers, "linear": nn.Linear(6, 3), "last": last or _lif()})


NETWORKS: dict[str, Callable[[], SpikingNetwork]] = {
    "convolution, linear, LIF with hard reset": lambda: _between({}, 128),
    "batch norm after a convolution": lambda: _between(
        {"more": nn.Conv2d(2, 2, 1), "norm": nn.BatchNorm2d(2), "cell": _lif()}, 128
    ),
    "max pooling of spikes": lambda: _between({"pool": nn.MaxPool2d(2)}, 32),
    "max pooling, overlapping": lambda: _between({"pool": nn.MaxPool2d(3, 2, 1)}, 32),
    "average pooling before linear": lambda: _between({"pool": nn.AvgPool2d(2)}, 32),
    "average pooling before convolution": lambda: _between(
        {"pool": nn.AvgPool2d(2), "more": nn.Conv2d(2, 2, 3, padding=1), "cell": _lif()}, 32
    ),
    "average pooling, overlapping, before convolution": lambda: _between(
        {"pool": nn.AvgPool2d(3, 1), "more": nn.Conv2d(2, 2, 1), "cell": _lif()}, 72
    ),
    "LIF without leak": lambda: _between({}, 128, beta=1.0),
    "LIF with soft reset": lambda: _between({}, 128, reset="subtract"),
    "LIF without reset": lambda: _between({}, 128, reset="none"),
    "PLIF": lambda: _of(PLIF(0.5, 1.0, 2.0)),
    "CUBA": lambda: _of(CUBA(0.5, 0.5, 1.0, 2.0)),
    "CUBA without membrane leak": lambda: _of(CUBA(0.5, 1.0, 1.0, 2.0)),
    "residual ADD (SEW)": lambda: _gated("add"),
    "residual AND (SEW)": lambda: _gated("and"),
    "residual IAND (SEW)": lambda: _gated("iand"),
    "spikes added to a convolution (Spiking-ResNet)": _shortcut,
    "convex mixture before batch norm (wide ResNet)": _mixed,
    "read-out by the membrane": _read_by_membrane,
    "recurrent layer": lambda: _looped(False),
    "loop over two layers without a delay": lambda: _looped(True),
    "linear layers alone, LIF with hard reset": lambda: _linear(_lif()),
    "linear layers alone, LIF with soft reset": lambda: _linear(_lif(reset="subtract")),
    "linear layers alone, CUBA": lambda: _linear(CUBA(0.5, 0.5, 1.0, 2.0)),
    "linear layers alone, several spikes a step": lambda: _linear(Cells({}, reset="subtract", several=True)),
    "linear layers alone, read-out by the membrane": lambda: _linear(_lif(), Integrator()),
    "delay": lambda: _between({"delay": Delay(2)}, 128),
    "dropout": lambda: _between({"drop": nn.Dropout()}, 128),
    "layer norm": lambda: _between({"norm": nn.LayerNorm((2, 8, 8))}, 128),
    "transposed convolution": lambda: _between({"up": nn.ConvTranspose2d(2, 2, 2), "cell": _lif()}, 162),
}


def programs() -> list[Answer]:
    """Return for every construct of a Program where it runs: each target of Loihi's integers, and each of its chips."""
    return [answer for construct, make in PROGRAMS.items() for answer in everywhere(construct, make())]


def layers() -> list[Answer]:
    """Return for every construct of a network in PyTorch whether it has a Program, one column a family of chips."""
    found = []
    for construct, make in NETWORKS.items():
        for name in FAMILIES:
            family, reason = get_family(name), ""
            try:
                family.lower(family.quantized(make(), 8), (1, 8, 8))
            except UnsupportedError as error:
                reason = str(error)
            found.append(Answer(construct, name, reason))
    return found


def page(
    about_programs: list[Answer], about_cores: list[Answer], about_layers: list[Answer], about_files: list[Answer]
) -> str:
    """Return docs/support.md."""
    return f"""# What runs where

Made by `spikeproof support --markdown`, which puts a small Program with each construct to every target, and a
small network with each layer to the exporter. "yes" means: the same integers as `loihi`, or `xylo`, bit for bit
(conformance tests run each). Columns named after a chip say what the chip itself can hold, apart from sizes.

## Programs in Loihi's integers

{markdown(about_programs)}
## Programs in Xylo's integers

{markdown(about_cores)}
## From PyTorch

One column a family of chips: `export.chip` of a recipe says for which a network is quantized and lowered.

{markdown(about_layers)}
## From NIR files

What other frameworks' files hold and the lowering has an exact form for (docs/nir.md); the Program of a small graph
with each is put to every target and chip.

{markdown(about_files)}"""


def markdown(answers: list[Answer]) -> str:
    """Return a table, construct x where, with the reasons as numbered notes below it."""
    places = list(dict.fromkeys(answer.where for answer in answers))
    notes: list[str] = []
    lines = [f"| construct | {' | '.join(places)} |", f"| --- |{' :-: |' * len(places)}"]
    for construct in dict.fromkeys(answer.construct for answer in answers):
        cells = []
        for answer in (answer for answer in answers if answer.construct == construct):
            if answer.reason and answer.reason not in notes:
                notes.append(answer.reason)
            cells.append(f"no [{notes.index(answer.reason) + 1}]" if answer.reason else "yes")
        lines.append(f"| {construct} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, start=1))]).rstrip() + "\n"
