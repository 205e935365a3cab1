"""The Program as one ONNX graph of standard operators, exact in every element.

What has no memory (convolutions, products, thresholds) runs once for all steps, time folded into the batch; a Scan over
time holds what neurons remember, and recurrent loops. Bounds known beforehand choose the types, so that all is exact.

The graph needs no spikeproof to run. Input ``messages`` (time, batch, ...) int32; outputs ``output`` (batch, classes)
int64 and, for each spiking population P, ``spikes/P`` (time, batch, ...) bool, ``u/P`` and ``v/P`` int64; for a graded
one ``spikes/P`` int64, its messages; for sigma-delta neurons these, with sigma and activation as ``u/P`` and ``v/P``.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...toolkit.errors import FileError, UnsupportedError
from ...toolkit.extras import extra
from ...toolkit.files import atomic, read_bytes
from ..program import Graded, Neurons, Population, Program
from .onnx_graph import BOOL, EXACT, FLOAT, INT32, INT64, Graph, Tensor, value
from .onnx_neurons import Cells, Tensors, cells
from .onnx_sums import arriving, over_time, piece

with extra("onnx"):
    import onnx
    from onnx import helper, numpy_helper

OPSET = 17
IR_VERSION = 8


def unsupported(program: Program) -> list[str]:
    """Return the reasons why ``program`` has no exact ONNX form; empty when it has one."""
    return [
        f"{synapse.label}: weights add up to {program.bound(synapse) // program.peak(synapse.source)} at one neuron: "
        "not even sums of single bits are exact in float32 (limit 2^24)"
        for synapse in program.synapses
        if not piece(program, synapse)
    ]


def _blocks(program: Program) -> Iterator[list[Neurons]]:
    """Yield the populations in order: those that a recurrent synapse spans together, the others alone."""
    places = {population.name: place for place, population in enumerate(program.populations)}
    last = list(range(len(places)))
    for synapse in program.synapses:
        if not program.forward(synapse):
            last[places[synapse.target]] = max(last[places[synapse.target]], places[synapse.source])
    first = 0
    while first < len(last):
        end = first
        for place in range(first, len(last)):
            if place > end:
                break
            end = max(end, last[place])
        yield list(program.populations[first : end + 1])
        first = end + 1


class _Whole:
    """The whole graph, as it grows from population to population.

    Attributes:
        graph: around the loops.
        sent: what the input and each population sends, (time, batch, ...).
        rasters: outputs beside ``output``.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.graph = Graph()
        self.message = Tensor("messages", INT32)
        self.sent = {program.input.name: self.message}
        self.rasters: list[onnx.ValueInfoProto] = []
        graph = self.graph
        self.batch = graph.add("Slice", graph.add("Shape", "messages"), graph.constant([1]), graph.constant([2]))
        self.same = ""
        if program.steps > 1:
            # Direct coding sends the same messages at every step.
            first = graph.add("Slice", "messages", graph.constant([0]), graph.constant([1]))
            equal = graph.add("Cast", graph.add("Equal", "messages", first), to=INT32)
            self.same = graph.add("Cast", graph.add("ReduceMin", equal, keepdims=0), to=BOOL)

    def zeros(self, kind: int, shape: Sequence[int], steps: int = 0) -> str:
        """Return zeros of (batch, ...), or (steps, batch, ...)."""
        graph = self.graph
        before = [graph.constant([steps])] if steps else []
        sizes = graph.add("Concat", *before, self.batch, graph.constant(list(shape)), axis=0)
        return graph.add("ConstantOfShape", sizes, value=helper.make_tensor("zero", kind, [1], [0]))

    def block(self, block: Sequence[Neurons]) -> None:
        """Append populations that run together."""
        program, graph, names = self.program, self.graph, [population.name for population in block]
        inner = {index for index, one in enumerate(program.synapses) if {one.source, one.target} <= set(names)}
        recurrent = any(not program.forward(program.synapses[index]) for index in inner)
        outside: dict[str, Tensor | None] = {}
        within: dict[str, list[int]] = {name: [] for name in names}
        for population in block:
            name = population.name
            total: Tensor | None = None
            for index, synapse in enumerate(program.synapses):
                if synapse.target != name or program.lag(synapse) >= program.steps:
                    continue
                if index in inner:
                    within[name].append(index)
                else:
                    same = self.same if synapse.source == program.input.name else ""
                    a = over_time(graph, program, index, self.sent[synapse.source], same)
                    total = graph.total(total, a)
            if total is None and (name == names[0] or not within[name]):
                total = Tensor(self.zeros(FLOAT, population.shape, program.steps), FLOAT)
            outside[name] = total
        if recurrent:
            self._loop(block, outside, within)
        else:
            (population,) = block
            alone = outside[population.name]
            assert alone is not None
            self._alone(population, alone)

    def _alone(self, population: Neurons, a: Tensor) -> None:
        """Append a population without recurrent synapses: only what it remembers goes step by step."""
        made = cells(self.program, population, a.bound)
        drive = made.drive(self.graph, a, self._coded(population))
        if not made.states:
            _, seen = made.step(self.graph, drive, {})
            return self._observe(population, made, {**drive, **seen})
        body = self.graph.inner(f"{self.graph.fresh()}s")
        states = {name: Tensor(f"_before_{name}/{population.name}", kind) for name, kind in made.states.items()}
        # Constants, as biases mostly are, stay where they are.
        over = {name: drive[name] for name in made.uses if drive[name].name not in body.constants}
        given = {name: x._replace(name=f"_at_{name}/{population.name}") for name, x in over.items()}
        after, seen = made.step(body, {**drive, **given}, states)
        seen = {name: x for name, x in seen.items() if name not in drive}
        shape = population.shape
        found = self._scan(
            body,
            [(states[name], after[name], shape) for name in states],
            [(over[name], given[name], shape) for name in over],
            [(x, shape) for x in seen.values()],
        )
        self._observe(population, made, {**drive, **dict(zip(seen, found, strict=True))})

    def _loop(self, block: Sequence[Neurons], outside: dict[str, Tensor | None], within: dict[str, list[int]]) -> None:
        """Append populations with recurrent synapses among them, and the synapses, step by step."""
        program = self.program
        body = self.graph.inner(f"{self.graph.fresh()}s")
        # What was sent k steps ago, for the synapses that lag behind the sample.
        lags: dict[str, int] = {}
        for index in (index for indices in within.values() for index in indices):
            synapse = program.synapses[index]
            lags[synapse.source] = max(lags.get(synapse.source, 0), program.lag(synapse))
        kinds = {name: FLOAT if program.peak(name) < EXACT else INT64 for name in lags}
        past = {
            (name, k): Tensor(f"_past{k}/{name}", kinds[name])
            for name, longest in lags.items()
            for k in range(1, longest + 1)
        }
        carried: list[tuple[Tensor, Tensor, Sequence[int]]] = []
        over: list[tuple[Tensor, Tensor, Sequence[int]]] = []
        observed: list[tuple[Tensor, Sequence[int]]] = []
        sent: dict[str, Tensor] = {}
        ready: list[tuple[Neurons, Cells, list[str]]] = []
        for population in block:
            name, shape, total = population.name, population.shape, outside[population.name]
            if total is not None:
                a = total._replace(name=f"_at_a/{name}")
                over.append((total, a, shape))
                total = a
            for index in within[name]:
                synapse = program.synapses[index]
                lag = program.lag(synapse)
                x = past[synapse.source, lag] if lag else sent[synapse.source]
                total = body.total(total, arriving(body, program, index, x))
            assert total is not None
            made = cells(program, population, total.bound)
            message = self._coded(population)
            if message:
                at = message._replace(name=f"_at_message/{name}")
                over.append((message, at, shape))
                message = at
            states = {key: Tensor(f"_before_{key}/{name}", kind) for key, kind in made.states.items()}
            after, seen = made.step(body, made.drive(body, total, message), states)
            carried += [(states[key], after[key], shape) for key in states]
            observed += [(x, shape) for x in seen.values()]
            ready.append((population, made, list(seen)))
            if name in lags:
                sent[name] = Tensor(body.cast(made.sent(body, seen), kinds[name]), kinds[name])
        for (source, k), before in past.items():
            newer = past[source, k - 1] if k > 1 else sent[source]
            carried.append((before, newer, program.shape_of(source)))
        found = iter(self._scan(body, carried, over, observed))
        for population, made, keys in ready:
            self._observe(population, made, {key: next(found) for key in keys})

    def _scan(
        self,
        body: Graph,
        carried: Sequence[tuple[Tensor, Tensor, Sequence[int]]],
        over: Sequence[tuple[Tensor, Tensor, Sequence[int]]],
        observed: Sequence[tuple[Tensor, Sequence[int]]],
    ) -> list[Tensor]:
        """Append a Scan and return what it observed, (time, batch, ...).

        Args:
            body: one step.
            carried: states before and after a step, with their shapes.
            over: what is run over, (time, batch, ...), a step of it, and the shape of that.
            observed: what is kept of each step, with its shape.
        """
        graph, taken = self.graph, {before.name for before, _, _ in carried} | {at.name for _, at, _ in over}

        def out(x: Tensor, shape: Sequence[int]) -> onnx.ValueInfoProto:
            name = body.add("Identity", x.name) if x.name in taken else x.name
            taken.add(name)
            return value(name, x.kind, ["batch", *shape])

        outputs = [out(x, shape) for x, shape in observed]
        outputs = [*(out(after, shape) for _, after, shape in carried), *outputs]
        inputs = [(before, shape) for before, _, shape in carried] + [(at, shape) for _, at, shape in over]
        step = helper.make_graph(
            body.nodes, "step", [value(x.name, x.kind, ["batch", *shape]) for x, shape in inputs], outputs
        )
        initial = [self.zeros(before.kind, shape) for before, _, shape in carried]
        name = graph.fresh()
        finals = [f"_{name}_final{index}" for index in range(len(carried))]
        kept = [Tensor(f"_{name}_Scan{index}", x.kind) for index, (x, _) in enumerate(observed)]
        graph.nodes.append(
            helper.make_node(
                "Scan",
                [*initial, *(x.name for x, _, _ in over)],
                [*finals, *(x.name for x in kept)],
                num_scan_inputs=len(over),
                body=step,
            )
        )
        return kept

    def _coded(self, population: Neurons) -> Tensor | None:
        """Return the messages, if they are bias-coded here."""
        return None if isinstance(population, Graded) or not population.input_bias else self.message

    def _observe(self, population: Neurons, made: Cells, seen: Tensors) -> None:
        """Append the outputs of a population."""
        graph, name = self.graph, population.name
        full: list[int | str] = [self.program.steps, "batch", *population.shape]
        messages = made.sent(graph, seen)
        kind = BOOL if isinstance(population, Population) else INT64
        out = graph.add("Cast", messages.name, name=f"spikes/{name}", to=kind)
        self.sent[name] = messages
        self.rasters.append(value(out, kind, full))
        for what, x in made.seen(graph, seen).items():
            self.rasters.append(value(graph.add("Cast", x.name, name=f"{what}/{name}", to=INT64), INT64, full))

    def readout(self) -> None:
        """Append the read-out, named ``output``."""
        graph, program = self.graph, self.program
        name, first = program.readout.population, graph.constant([0])
        if program.readout.every_step:
            membrane = program.readout.kind == "membrane"
            each = f"v/{name}" if membrane else graph.add("Cast", f"spikes/{name}", to=INT64)
            axes = [1, 0, *range(2, 2 + len(program.shape_of(name)))]
            graph.add("Flatten", graph.add("Transpose", each, perm=axes), name="output", axis=1)
            return
        if program.readout.kind == "membrane":
            end = graph.add("Gather", f"v/{name}", graph.constant(-1), axis=0)
            graph.add("Flatten", end, name="output", axis=1)
            return
        spikes = graph.add("Cast", f"spikes/{name}", to=INT64)
        if program.readout.kind == "spike_count":
            found = graph.add("ReduceSum", spikes, first, keepdims=0)
        else:
            # The largest of "steps left" over the steps that fired is that of the first spike; 0 if none did.
            left = np.arange(program.steps, 0, -1).reshape(-1, *[1] * (len(program.shape_of(name)) + 1))
            weighted = graph.add("Mul", spikes, graph.constant(left.tolist()))
            found = graph.add("ReduceMax", weighted, axes=[0], keepdims=0)
        graph.add("Flatten", found, name="output", axis=1)


def to_onnx(program: Program) -> onnx.ModelProto:
    """Return ``program`` as an ONNX model, checked by ``onnx.checker``.

    Raises:
        UnsupportedError: it has no exact form; the message holds every reason.
    """
    reasons = unsupported(program)
    if reasons:
        raise UnsupportedError("ONNX: " + "; ".join(reasons))
    whole = _Whole(program)
    for block in _blocks(program):
        whole.block(block)
    whole.readout()
    last = program.population(program.readout.population)
    answers = program.steps if program.readout.every_step else 1
    graph = helper.make_graph(
        whole.graph.nodes,
        "spikeproof",
        [value("messages", INT32, [program.steps, "batch", *program.input.shape])],
        [value("output", INT64, ["batch", int(np.prod(last.shape)) * answers]), *whole.rasters],
        [numpy_helper.from_array(array, name) for name, array in whole.graph.constants.items()],
    )
    model = helper.make_model(
        graph, producer_name="spikeproof", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    helper.set_model_props(model, {"program_sha256": program.sha256(), "profile": program.profile})
    onnx.checker.check_model(model, full_check=True)
    return model


def without(data: bytes, outputs: Collection[str]) -> bytes:
    """Return a serialized model of :func:`to_onnx` without some outputs, and without what only they need."""
    model = onnx.load_model_from_string(data)
    kept = [output for output in model.graph.output if output.name not in outputs]
    needed, nodes = {output.name for output in kept}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(_read(node))
    arrays = [array for array in model.graph.initializer if array.name in needed]
    for field, parts in (("output", kept), ("node", nodes[::-1]), ("initializer", arrays)):
        whole = getattr(model.graph, field)
        copies = [type(part).FromString(part.SerializeToString()) for part in parts]
        del whole[:]
        whole.extend(copies)
    return bytes(model.SerializeToString())


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names that a node, or a graph in it, reads."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)
        yield from (output.name for output in attribute.g.output)


def write_onnx(path: Path, program: Program) -> None:
    """Write ``program`` as ONNX, atomically."""
    model = to_onnx(program)
    with atomic(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def read_onnx(path: Path, program: Program) -> bytes:
    """Return the bytes of an ONNX file that :func:`write_onnx` wrote for ``program``.

    Raises:
        FileError: missing, corrupt, foreign, or of another Program.
    """
    data = read_bytes(path)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf raises several kinds on damaged files
        raise FileError(f"{path}: not a readable ONNX file ({type(error).__name__}); export again") from error
    # The whole model is compared, not a hash that it claims of itself: operator versions and functions matter, too.
    if model != to_onnx(program):
        raise FileError(f"{path}: was not made from this Program; export again")
    return data
