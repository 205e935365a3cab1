"""The Program as one ONNX graph of standard operators: a Scan over time, exact in every element.

The graph needs no spikeproof to run. Input ``messages`` (time, batch, ...) int32; outputs ``output`` (batch, classes)
int64 and, for each spiking population P, ``spikes/P`` (time, batch, ...) bool, ``u/P`` and ``v/P`` int64; for a graded
one ``spikes/P`` int64, its messages; for sigma-delta neurons these, with sigma and activation as ``u/P`` and ``v/P``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import FileError, UnsupportedError
from ...toolkit.extras import extra
from ...toolkit.files import atomic, read_bytes
from ..program import Convolution, Graded, Population, Program, SigmaDelta, Synapse

with extra("onnx"):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

EXACT = 2**24
"""Integers below this are exact in float32, in which the standard's convolution is computed."""
OPSET = 17
IR_VERSION = 8


def unsupported(program: Program) -> list[str]:
    """Return the reasons why ``program`` has no exact ONNX form; empty when it has one."""
    return [
        f"{synapse.label}: weights add up to {program.bound(synapse) // program.peak(synapse.source)} at one neuron: "
        "not even sums of single bits are exact in float32 (limit 2^24)"
        for synapse in program.synapses
        if not _piece(program, synapse)
    ]


def _piece(program: Program, synapse: Synapse) -> int:
    """Return how many bits of a message are summed at once, so that every sum is below 2^24: exact in float32.

    0 where not even one bit is; the whole message where all of it may be.
    """
    bound, peak = program.bound(synapse), program.peak(synapse.source)
    if bound < EXACT:
        return max(1, peak.bit_length())
    return ((EXACT - 1) // (bound // peak) + 1).bit_length() - 1


class _Body:
    """Collects the nodes and constants of one time step."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        out = name or f"_{len(self.nodes)}_{operator}"
        self.nodes.append(helper.make_node(operator, list(inputs), [out], **attributes))
        return out

    def constant(self, value: object, dtype: type[np.generic] = np.int64) -> str:
        """Return the name of a constant; equal constants have equal names."""
        array = np.asarray(value, dtype=dtype)
        name = f"_{array.dtype}_{array.tolist()}"
        self.constants[name] = array
        return name

    def zeros(self, shape: str, kind: int) -> str:
        """Return zeros of the shape that the tensor ``shape`` holds."""
        return self.add("ConstantOfShape", shape, value=helper.make_tensor("zero", kind, [1], [0]))

    def wrap(self, x: str, bits: int) -> str:
        """Two's complement: ((x + 2^(bits-1)) mod 2^bits) - 2^(bits-1)."""
        half = self.constant(2 ** (bits - 1))
        raised = self.add("Mod", self.add("Add", x, half), self.constant(2**bits))
        return self.add("Sub", raised, half)

    def decay(self, x: str, factor: int) -> str:
        """Toward zero: ONNX's integer division truncates, as Loihi's decay does."""
        if factor == 0:
            return x
        return self.add("Div", self.add("Mul", x, self.constant(4096 - factor)), self.constant(4096))

    def synapse(self, program: Program, index: int, synapse: Synapse, x: str) -> str:
        """Return what arrives, (batch, ...) int64, for messages x (batch, ...), see :func:`_carried`."""
        bound = program.bound(synapse)
        if bound >= EXACT:
            arriving = self.pieces(program, index, synapse, x)
            bound = int(bound * 2.0**synapse.exponent) + 1
            return self.wrapped(synapse, arriving, bound)
        if _carried(program, synapse.source) == TensorProto.INT64:
            x = self.add("Cast", x, to=TensorProto.FLOAT)
        total = self.weighted(program, index, synapse, x)
        if synapse.exponent:
            # Sums and powers of two are exact in float32; the floor is Loihi's shift to the right.
            total = self.add("Floor", self.add("Mul", total, self.constant(2.0**synapse.exponent, np.float32)))
            bound = int(bound * 2.0**synapse.exponent) + 1
        return self.wrapped(synapse, self.add("Cast", total, to=TensorProto.INT64), bound)

    def weighted(self, program: Program, index: int, synapse: Synapse, x: str) -> str:
        """Return the sums of weights times messages, (batch, ...) float32."""
        weight = f"weight/{index}"
        if isinstance(synapse, Convolution):
            self.constants[weight] = synapse.weight.astype(np.float32)
            pads = [*synapse.padding, *synapse.padding]
            return self.add(
                "Conv", x, weight, strides=synapse.stride, pads=pads, dilations=synapse.dilation, group=synapse.groups
            )
        self.constants[weight] = np.ascontiguousarray(synapse.matrix().T.astype(np.float32))
        product = self.add("MatMul", self.add("Flatten", x, axis=1), weight)
        return self.add("Reshape", product, self.constant([-1, *program.shape_of(synapse.target)]))

    def pieces(self, program: Program, index: int, synapse: Synapse, x: str) -> str:
        """Return what arrives, int64, where float32 does not hold the sums: a few bits of the messages at a time.

        Of messages with a sign the last piece has it: what is left above the bits before, from -2^(bits - 1).
        """
        bits, signed = _piece(program, synapse), program.signed(synapse.source)
        width = program.peak(synapse.source).bit_length() + signed
        rest, total, shift = self.add("Cast", x, to=TensorProto.INT64), "", 0
        while shift < width:
            last = signed and shift + bits >= width
            low = rest if last else self.add("Mod", rest, self.constant(2**bits))
            part = self.weighted(program, index, synapse, self.add("Cast", low, to=TensorProto.FLOAT))
            part = self.add("Cast", part, to=TensorProto.INT64)
            part = self.add("Mul", part, self.constant(2**shift)) if shift else part
            total = self.add("Add", total, part) if total else part
            if not last:  # Exact, so that the division is a floor for what is below 0, too.
                rest = self.add("Div", self.add("Sub", rest, low) if signed else rest, self.constant(2**bits))
            shift += bits
        if synapse.exponent > 0:
            return self.add("Mul", total, self.constant(2**synapse.exponent))
        if synapse.exponent:
            if program.bound(synapse) >= 2**31:  # The sum is 32 bits wide before it is shifted, too.
                total = self.wrap(total, 32)
            # Mod is not negative, so that the division is Loihi's shift to the right: a floor.
            size = self.constant(2**-synapse.exponent)
            return self.add("Div", self.add("Sub", total, self.add("Mod", total, size)), size)
        return total

    def wrapped(self, synapse: Synapse, arriving: str, bound: int) -> str:
        """Return sums up to ``bound`` in the width that they are kept in."""
        if isinstance(synapse, Convolution) and synapse.exponent == 0:
            return self.wrap(arriving, 24) if bound >= 2**23 else arriving
        return self.wrap(arriving, 32) if bound >= 2**31 else arriving

    def neurons(self, population: Population, a: str, u: str, v: str, message: str) -> tuple[str, str, str]:
        """Return the names of u, v and spikes after one step, the equations of docs/program.md."""
        limit = 2**23
        bias = f"bias/{population.name}"
        self.constants[bias] = population.bias.astype(np.int64) << population.bias_exponent
        if population.input_bias:
            drive = self.add("Cast", message, to=TensorProto.INT64)
            bias = self.add("Add", bias, self.add("Mul", drive, self.constant(2**population.bias_exponent)))
        if not a:
            a = self.add("Mul", v, self.constant(0))
        drive = self.wrap(self.add("Mul", a, self.constant(64)), 32)
        u = self.wrap(self.add("Add", self.decay(u, population.du + 1), drive), 32)
        high = self.add(
            "Where", self.add("Greater", u, self.constant(limit)), self.constant(-2 * limit), self.constant(0)
        )
        low = self.add(
            "Where", self.add("LessOrEqual", u, self.constant(-limit)), self.constant(2 * limit), self.constant(0)
        )
        u = self.add("Add", self.add("Add", u, high), low, name=f"_u/{population.name}")
        v = self.add("Add", self.add("Add", self.decay(v, population.dv), u), bias)
        v = self.add("Max", self.add("Min", v, self.constant(limit - 1)), self.constant(-limit + 1))
        spikes = self.add("Greater", v, self.constant(population.vth * 64), name=f"_spikes/{population.name}")
        v = self.add("Where", spikes, self.constant(0), v, name=f"_v/{population.name}")
        return u, v, spikes

    def graded(self, population: Graded, a: str) -> str:
        """Return the name of what units without state send: a where a > vth, else 0."""
        above = self.add("Greater", a, self.constant(population.vth))
        return self.add("Where", above, a, self.constant(0), name=f"_spikes/{population.name}")

    def changes(self, population: SigmaDelta, a: str, states: list[str], message: str) -> tuple[list[str], str]:
        """Return the names of sigma, activation and residue after one step, and of what sigma-delta neurons send."""
        name, e = population.name, population.exponent
        sigma, act, residue = states
        sigma = self.wrap(self.add("Add", sigma, a), 32) if a else sigma
        sigma = self.add("Identity", sigma, name=f"_u/{name}")
        if population.sends == "sigma":
            held = self.add("Identity", sigma, name=f"_v/{name}")
            return [sigma, held, residue], self.add("Identity", sigma, name=f"_spikes/{name}")
        bias = f"bias/{name}"
        self.constants[bias] = population.bias.astype(np.int64) << e
        if population.input_bias:
            drive = self.add("Cast", message, to=TensorProto.INT64)
            bias = self.add("Add", bias, self.add("Mul", drive, self.constant(2**e)))
        least = self.constant(0 if population.activation == "relu" else -(2**31))
        new = self.add("Max", self.wrap(self.add("Add", sigma, bias), 32), least, name=f"_v/{name}")
        delta = self.wrap(self.add("Add", self.add("Sub", new, act), residue), 32)
        # The magnitude of -2^31 is -2^31 in 32 bits, which reaches no threshold.
        reaches = self.add("GreaterOrEqual", self.add("Abs", delta), self.constant(population.vth << e))
        reaches = self.add("And", reaches, self.add("Greater", delta, self.constant(-(2**31))))
        kept = self.add("Where", reaches, delta, self.constant(0))
        size = self.constant(2**population.state_exponent)
        sent = self.add("Div", self.add("Sub", kept, self.add("Mod", kept, size)), size, name=f"_spikes/{name}")
        return [sigma, new, self.add("Sub", delta, kept)], sent

    def readout(self, program: Program) -> None:
        """Append the read-out, named ``output``."""
        name, first = program.readout.population, self.constant([0])
        if program.readout.every_step:
            membrane = program.readout.kind == "membrane"
            each = f"v/{name}" if membrane else self.add("Cast", f"spikes/{name}", to=TensorProto.INT64)
            axes = [1, 0, *range(2, 2 + len(program.shape_of(name)))]
            self.add("Flatten", self.add("Transpose", each, perm=axes), name="output", axis=1)
            return
        if program.readout.kind == "membrane":
            end = self.add("Gather", f"v/{name}", self.constant(-1), axis=0)
            self.add("Flatten", end, name="output", axis=1)
            return
        spikes = self.add("Cast", f"spikes/{name}", to=TensorProto.INT64)
        if program.readout.kind == "spike_count":
            found = self.add("ReduceSum", spikes, first, keepdims=0)
        else:
            # The largest of "steps left" over the steps that fired is that of the first spike; 0 if none did.
            left = np.arange(program.steps, 0, -1).reshape(-1, *[1] * (len(program.shape_of(name)) + 1))
            weighted = self.add("Mul", spikes, self.constant(left.tolist()))
            found = self.add("ReduceMax", weighted, axes=[0], keepdims=0)
        self.add("Flatten", found, name="output", axis=1)


def _lags(program: Program) -> dict[str, int]:
    """Return how many steps back each source must be remembered; beyond the last step nothing matters."""
    lags: dict[str, int] = {}
    for synapse in program.synapses:
        lags[synapse.source] = max(lags.get(synapse.source, 0), program.lag(synapse))
    return lags


def _carried(program: Program, source: str) -> int:
    """Return the type that messages travel in: float32, in which sums are made, where it holds them exactly."""
    return int(TensorProto.INT64 if program.peak(source) >= EXACT else TensorProto.FLOAT)


def _value(name: str, kind: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def to_onnx(program: Program) -> onnx.ModelProto:
    """Return ``program`` as an ONNX model, checked by ``onnx.checker``.

    Raises:
        UnsupportedError: it has no exact form; the message holds every reason.
    """
    reasons = unsupported(program)
    if reasons:
        raise UnsupportedError("ONNX: " + "; ".join(reasons))
    body = _Body()
    message = "_message"
    sent = {program.input.name: body.add("Cast", message, to=TensorProto.FLOAT)}
    states, updated, observed = [], [], []
    # What was sent k steps ago, for the synapses that lag behind the sample: delays, longer paths, recurrence.
    lags = _lags(program)
    past = {(name, k): f"_past{k}/{name}" for name, longest in lags.items() for k in range(1, longest + 1)}
    for population in program.populations:
        shape: list[int | str] = ["batch", *population.shape]
        arriving = ""
        for index, synapse in enumerate(program.synapses):
            if synapse.target == population.name:
                lag = program.lag(synapse)
                message_in = past[synapse.source, lag] if lag else sent[synapse.source]
                part = body.synapse(program, index, synapse, message_in)
                arriving = body.add("Add", arriving, part) if arriving else part
        if isinstance(population, Graded):
            messages = body.graded(population, arriving)
            sent[population.name] = body.add("Cast", messages, to=TensorProto.FLOAT)
            observed.append(_value(messages, TensorProto.INT64, shape))
            continue
        if isinstance(population, SigmaDelta):
            held = [f"_before_{what}/{population.name}" for what in ("u", "v", "residue")]
            after, messages = body.changes(population, arriving, held, message)
            sent[population.name] = body.add("Cast", messages, to=_carried(program, population.name))
            for name, new in zip(held, after, strict=True):
                states.append(_value(name, TensorProto.INT64, shape))
                updated.append(_value(body.add("Identity", new), TensorProto.INT64, shape))
            observed += [_value(name, TensorProto.INT64, shape) for name in (messages, *after[:2])]
            continue
        assert isinstance(population, Population)
        before = f"_before_u/{population.name}", f"_before_v/{population.name}"
        u, v, spikes = body.neurons(population, arriving, *before, message)
        sent[population.name] = body.add("Cast", spikes, to=TensorProto.FLOAT)
        for name, new in zip(before, (u, v), strict=True):
            states.append(_value(name, TensorProto.INT64, shape))
            updated.append(_value(body.add("Identity", new), TensorProto.INT64, shape))
        observed += [_value(spikes, TensorProto.BOOL, shape)]
        observed += [_value(name, TensorProto.INT64, shape) for name in (u, v)]
    for (source, k), name in past.items():
        shape, kind = ["batch", *program.shape_of(source)], _carried(program, source)
        states.append(_value(name, kind, shape))
        newer = past[source, k - 1] if k > 1 else sent[source]
        updated.append(_value(body.add("Identity", newer), kind, shape))
    step = helper.make_graph(
        body.nodes,
        "step",
        [*states, _value(message, TensorProto.INT32, ["batch", *program.input.shape])],
        [*updated, *observed],
    )
    outer = _Body()
    batch = outer.add("Slice", outer.add("Shape", "messages"), outer.constant([1]), outer.constant([2]))
    initial = []
    for population in program.stateful:
        shape_name = outer.add("Concat", batch, outer.constant(list(population.shape)), axis=0)
        initial += [outer.zeros(shape_name, TensorProto.INT64)] * (3 if isinstance(population, SigmaDelta) else 2)
    for source, _ in past:
        shape_name = outer.add("Concat", batch, outer.constant(list(program.shape_of(source))), axis=0)
        initial.append(outer.zeros(shape_name, _carried(program, source)))
    finals = [f"_final_{index}" for index in range(len(initial))]
    rasters: list[onnx.ValueInfoProto] = []
    for population in program.populations:
        full: list[int | str] = [program.steps, "batch", *population.shape]
        if isinstance(population, Graded):
            rasters.append(_value(f"spikes/{population.name}", TensorProto.INT64, full))
            continue
        kind = TensorProto.INT64 if isinstance(population, SigmaDelta) else TensorProto.BOOL
        rasters.append(_value(f"spikes/{population.name}", kind, full))
        rasters += [_value(f"{what}/{population.name}", TensorProto.INT64, full) for what in "uv"]
    outer.nodes.append(
        helper.make_node(
            "Scan", [*initial, "messages"], [*finals, *(value.name for value in rasters)], num_scan_inputs=1, body=step
        )
    )
    last = program.population(program.readout.population)
    outer.readout(program)
    answers = program.steps if program.readout.every_step else 1
    graph = helper.make_graph(
        outer.nodes,
        "spikeproof",
        [_value("messages", TensorProto.INT32, [program.steps, "batch", *program.input.shape])],
        [_value("output", TensorProto.INT64, ["batch", int(np.prod(last.shape)) * answers]), *rasters],
        [numpy_helper.from_array(array, name) for name, array in (body.constants | outer.constants).items()],
    )
    model = helper.make_model(
        graph, producer_name="spikeproof", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    helper.set_model_props(model, {"program_sha256": program.sha256(), "profile": program.profile})
    onnx.checker.check_model(model, full_check=True)
    return model


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
