"""Writes the C file: tables, state, one block of statements for each population, and a ``main``."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...toolkit.errors import UnsupportedError
from ..program import Graded, Population, Program, Shifting, SigmaDelta
from . import harness, kernels
from .layout import Node, Wire, bytes_of, nodes, width_of, wires

LARGEST = 2**30
"""Numbers in one table: places in it are 32 bits wide."""
Main = Literal["plain", "counts", "rasters"]


@dataclass(frozen=True)
class Sizes:
    """What a C file needs beside its code, in bytes, exactly.

    Attributes:
        constants: tables of weights, biases and indices: flash.
        state: static variables: RAM, beside the stack.
    """

    constants: int
    state: int


def unsupported(program: Program) -> list[str]:
    """Return the reasons why ``program`` has no C file that is exact; empty when it has one."""
    reasons = []
    if program.profile != "lava":
        reasons.append(f"the Program is in the integers of profile {program.profile!r}; C computes those of Loihi")
    if program.readout.every_step:
        reasons.append(
            "read-out at every step: the C file has one at the end of a sample; read every_step with loihi or onnx"
        )
    for part in program.populations:
        if isinstance(part, Graded):
            most = sum(program.bound(one) << max(one.exponent, 0) for one in program.incoming(part.name))
            if most >= 2**31:
                reasons.append(
                    f"population {part.name!r}: sums up to {most} of its synapses leave 32 bits, and graded units send "
                    "sums as they are; end fewer synapses, or smaller weights, in it"
                )
    return reasons + [
        f"{synapse.label}: {synapse.weight.size} weights; a table in C holds {LARGEST} at most"
        for synapse in program.synapses
        if synapse.weight.size > LARGEST
    ]


def safe(text: str) -> str:
    """Return ``text`` so that it can stand in a comment of C, whatever is in it."""
    return "".join(c if c.isascii() and (c.isalnum() or c in " _.-(),:") else "_" for c in text)


def to_c(program: Program, name: str = "", *, main: Main = "plain") -> str:
    """Return the C file of a Program.

    Args:
        program: any that :func:`unsupported` has nothing against.
        name: what the network is called, for the first comment.
        main: what the ``main`` writes: "plain" a line of text for each sample; for target ``c``, in binary, "counts"
            (messages of each neuron, then outputs) or "rasters" (each step of each population, then outputs).

    Raises:
        UnsupportedError: it cannot be exact in C; the reasons.
    """
    reasons = unsupported(program)
    if reasons:
        raise UnsupportedError(f"C: {'; '.join(reasons)}")
    return _Writer(program, main).text(name)


def sizes(program: Program) -> Sizes:
    """Return what the tables and the state of a Program's C file need."""
    writer = _Writer(program, "plain")
    return Sizes(writer.constant_bytes, writer.state_bytes)


class _Writer:
    """Parts of a file as they come up."""

    def __init__(self, program: Program, main: Main) -> None:
        self.program, self.main = program, main
        self.at = nodes(program)
        self.input = self.at[program.input.name]
        self.wires = wires(program, self.at)
        self.message = width_of(program.input.peak)
        self.tables: list[str] = []
        self.tables_by_content: dict[tuple[str, bytes], str] = {}
        self.state: list[tuple[str, str, str]] = []
        self.loops: dict[str, str] = {}
        self.constant_bytes = self.state_bytes = 0
        self.body = [self._enter()]
        self.probes: dict[str, tuple[str, str]] = {}
        """Names of u and v, by population."""
        for node in self.at.values():
            history, length = node.history, node.length
            self._variable(node.kind, node.c, f"[{history}][{length}]", history * length)
        widest = max(node.size for node in self.at.values() if node is not self.input)
        self._variable("uint32_t", "sums", f"[{widest}]", widest)
        apart = [wire.target.size for wire in self.wires if wire.apart]
        if apart:
            self._variable("uint32_t", "part", f"[{max(apart)}]", max(apart))
        for part in program.populations:
            assert not isinstance(part, Shifting)  # refused above
            self.body.append("\n".join(self._population(part)))
        self._outputs()

    def text(self, name: str) -> str:
        """Return the file."""
        program, steps = self.program, self.program.steps
        called = f" of network {safe(name)}" if name else ""
        shape = ", ".join(map(str, program.input.shape))
        read = f"{program.readout.kind} of {safe(program.readout.population)}"
        head = f"""/* The Program{called} in C99, written by spikeproof: integers only, no heap; as target loihi.
 *
 * Program, SHA-256: {program.sha256()}
 * Input: {steps} steps of ({shape}) messages, 0 to {program.input.peak}. Output: {read}.
 * Constants: {self.constant_bytes} bytes; state: {self.state_bytes} bytes.
 *
 *     cc -std=c99 -O2 -o network FILE.c && ./network < samples.bin
 *
 * With -DSNN_NO_MAIN it is a library of the functions that are declared below. */
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SNN_STEPS {steps}
#define SNN_INPUTS {self.input.size}
#define SNN_OUTPUTS {self.at[program.readout.population].size}
"""
        state = "".join(f"static {kind} {name}{dims};\n" for kind, name, dims in self.state)
        loops = "".join(self.loops.values())
        used = loops + "".join(self.body)
        helpers = ""
        for helper in reversed(list(kernels.HELPERS)):
            if f"{helper}(" in used:
                helpers = kernels.HELPERS[helper] + helpers
                used += kernels.HELPERS[helper]
        structs = kernels.CONVOLUTION_STRUCT if "convolution_" in loops else ""
        helpers += kernels.MEETING if structs else ""
        zeros = "".join(f"    memset({name}, 0, sizeof {name});\n" for _, name, dims in self.state if dims)
        return "".join(
            (
                head,
                harness.FACE.replace("MESSAGE", self.message),
                structs,
                "\n",
                *self.tables,
                "\n",
                state,
                helpers,
                loops,
                f"\nvoid snn_reset(void) {{\n{zeros}    snn_t = 0;\n}}\n",
                "\nvoid snn_step(const snn_message *input) {\n",
                "\n".join(self.body),
                "\n    snn_t++;\n}\n",
                harness.CALLS,
                self._main(),
            )
        )

    def _variable(self, kind: str, name: str, dims: str, numbers: int) -> None:
        self.state.append((kind, name, dims))
        self.state_bytes += numbers * bytes_of(kind)

    def _table(self, kind: str, name: str, values: NDArray[np.integer]) -> str:
        """Write a table of constants, unless there is one just like it; return its name."""
        key = (kind, np.ascontiguousarray(values, dtype=np.int64).tobytes())
        known = self.tables_by_content.get(key)
        if known is None:
            flat = values.ravel().tolist()
            lines = (",".join(map(str, flat[start : start + 24])) for start in range(0, len(flat), 24))
            self.tables.append(f"static const {kind} {name}[{len(flat)}] = {{\n" + ",\n".join(lines) + "};\n")
            self.constant_bytes += len(flat) * bytes_of(kind)
            known = self.tables_by_content[key] = name
        return known

    def _slot(self, node: Node, lag: int = 0) -> str:
        """Return the messages of a node, of so many steps ago."""
        if node.history == 1:
            return f"{node.c}[0]"
        return f"{node.c}[{f'(snn_t - {lag}u)' if lag else 'snn_t'} % {node.history}u]"

    @staticmethod
    def _flat(node: Node, i: str = "i") -> str:
        """Return the place in the Program, flattened, of the neuron that lies at place ``i`` of the C file."""
        channels, height, width = node.planes
        if channels == 1 or height * width == 1:
            return i
        return f"{i} % {channels} * {height * width} + {i} / {channels}"

    def _enter(self) -> str:
        """Return statements that take in the input."""
        node, slot = self.input, self._slot(self.input)
        lines = [f"    /* {safe(node.name)}: {safe(str(node.shape))} */"]
        each = f"    for (int32_t i = 0; i < {node.size}; i++)"
        if node.bits:
            lines.append(f"    clear({node.length}, {slot});")
            lines.append(f"{each} {slot}[i / 32] |= (uint32_t)(input[{self._flat(node)}] != 0) << (i % 32);")
        else:
            lines.append(f"{each} {slot}[i] = input[{self._flat(node)}];")
        return "\n".join(lines) + "\n"

    def _wire(self, wire: Wire) -> Iterator[str]:
        """Yield statements that add what arrives by a synapse to the sums of its target."""
        source, size, weight = wire.source, wire.target.size, wire.kind
        into, name = ("part" if wire.apart else "sums"), self._table(weight, f"{wire.c}_weight", wire.weight)
        one = f"{1 << wire.shift}u"
        shifted = f" << {wire.shift}" if wire.shift else ""
        x = one if source.bits else f"(uint32_t){self._slot(source, wire.lag)}[i]{shifted}"
        kind = wire.synapse.kind
        if kind == "dense":
            self.loops.setdefault(f"dense_{weight}", kernels.DENSE.replace("WEIGHT", weight))
            call = f"dense_{weight}({name} + i * {size}, {size}, {x}, {into});"
        elif kind == "sparse":
            row, begin = width_of(size - 1), width_of(int(wire.starts[-1]))
            rows = self._table(row, f"{wire.c}_rows", wire.rows)
            starts = self._table(begin, f"{wire.c}_starts", wire.starts)
            loop = f"sparse_{weight}_{row}"
            self.loops.setdefault(loop, kernels.SPARSE.replace("WEIGHT", weight).replace("ROW", row))
            call = f"{loop}({name}, {rows}, {starts}[i], {starts}[i + 1], {x}, {into});"
        else:
            self.loops.setdefault(f"convolution_{weight}", kernels.CONVOLUTION.replace("WEIGHT", weight))
            shape = self._geometry(wire)
            call = f"convolution_{weight}(&{shape}, {name}, i, {x}, {into});"
        lines = [f"/* from {safe(source.name)}{f', {wire.lag} steps late' if wire.lag else ''} */"]
        if wire.apart:
            lines.append(f"clear({size}, part);")
        if source.bits:
            lines += [
                f"for (int32_t w = 0; w < {source.length}; w++)",
                f"    for (uint32_t left = {self._slot(source, wire.lag)}[w]; left; left &= left - 1u) {{",
                "        const int32_t i = w * 32 + lowest(left);",
                f"        {call}",
                "    }",
            ]
        else:
            lines += [
                f"for (int32_t i = 0; i < {source.size}; i++)",
                f"    if ({self._slot(source, wire.lag)}[i]) {call}",
            ]
        each = f"for (int32_t i = 0; i < {size}; i++) sums[i] += "
        if wire.floor:
            lines.append(f"{each}(uint32_t)floored(signed_of(part[i]), {wire.floor});")
        elif wire.narrow:
            lines.append(f"{each}narrowed(part[i]);")
        if wire.lag:
            lines = [f"if (snn_t >= {wire.lag}u) {{", *(f"    {line}" for line in lines), "}"]
        yield from (f"    {line}" for line in lines)

    def _geometry(self, wire: Wire) -> str:
        """Write the numbers of a convolution; return their name."""
        conv = wire.synapse
        assert conv.kind == "convolution"
        channels, _, width = wire.source.planes
        to_channels, *to_size = wire.target.planes
        out, per_group, *kernel = conv.weight.shape
        axes = []
        for size, k, stride, dilation in zip(to_size, kernel, conv.stride, conv.dilation, strict=True):
            both = gcd(stride, dilation)
            axes.append([size, k, stride, dilation, stride // both, dilation // both])
        numbers = [channels, width, to_channels, out // conv.groups, per_group, *conv.padding]
        name = f"{wire.c}_shape"
        parts = [*map(str, numbers), *(f"{{{', '.join(map(str, axis))}}}" for axis in axes)]
        self.tables.append(f"static const struct convolution {name} = {{{', '.join(parts)}}};\n")
        self.constant_bytes += 4 * (len(numbers) + sum(map(len, axes)))
        return name

    def _bias(self, node: Node, bias: NDArray[np.int32]) -> tuple[str, int]:
        """Write biases; return their name, and after how many neurons they repeat."""
        values = bias.ravel()[node.order]
        channels = node.planes[0]
        period = 1 if (values == values[0]).all() else node.size
        if period > 1 and (values.reshape(-1, channels) == values[:channels]).all():
            period = channels
        return self._table("int16_t", f"{node.c}_bias", values[:period]), period

    def _population(self, part: Population | Graded | SigmaDelta) -> Iterator[str]:
        """Yield the statements of one population's step."""
        node = self.at[part.name]
        slot, size = self._slot(node), node.size
        yield f"    /* {safe(part.name)}: {safe(str(part.shape))} */"
        yield f"    clear({size}, sums);"
        for wire in self.wires:
            if wire.target is node:
                yield from self._wire(wire)
        if isinstance(part, Graded):
            self.loops.setdefault(f"graded_{node.kind}", kernels.GRADED.replace("KIND", node.kind))
            yield f"    graded_{node.kind}({size}, {part.vth}, {slot});\n"
            return
        drive = self.input.kind if part.input_bias else ""
        driven = f"{self._slot(self.input)}, " if drive else ""
        if isinstance(part, Population):
            memory = part.du != 4095 or self.main == "rasters"
            name, text = kernels.lif(memory, drive)
            self.loops.setdefault(name, text)
            bias, period = self._bias(node, part.bias)
            u = self._states(node, "u")[0] if memory else ""
            current = f"{u}, {4095 - part.du}u, " if memory else ""
            v = self._states(node, "v")[0]
            self.probes[part.name] = (u, v)
            own = f"{current}{v}, {4096 - part.dv}u, {64 * part.vth}, {bias}, {period}, {1 << part.bias_exponent}"
            yield f"    {name}({size}, {own}, {driven}{slot});\n"
        elif part.sends == "sigma":
            self.loops.setdefault("sigma", kernels.SIGMA)
            (total,) = self._states(node, "sigma")
            self.probes[part.name] = (total, total)
            yield f"    sigma({size}, {total}, {slot});\n"
        else:
            name, text = kernels.sigma_delta(part.activation == "relu", drive)
            self.loops.setdefault(name, text)
            bias, period = self._bias(node, part.bias)
            states = self._states(node, "sigma", "act", "residue")
            self.probes[part.name] = (states[0], states[1])
            own = f"{', '.join(states)}, {bias}, {period}, {1 << part.exponent}u, {part.vth << part.exponent}u"
            yield f"    {name}({size}, {own}, {part.state_exponent}, {driven}{slot});\n"

    def _states(self, node: Node, *names: str) -> list[str]:
        found = [f"{node.c}_{name}" for name in names]
        for name in found:
            self._variable("int32_t", name, f"[{node.size}]", node.size)
        return found

    def _outputs(self) -> None:
        """Declare the outputs, and add the statements that find them."""
        readout = self.program.readout
        node = self.at[readout.population]
        self._variable("int32_t", "snn_output", "[SNN_OUTPUTS]", node.size)
        self._variable("uint32_t", "snn_t", "", 1)
        place = self._flat(node)
        if readout.kind == "membrane":
            v = self.probes[readout.population][1]
            self.body.append(f"    for (int32_t i = 0; i < {node.size}; i++) snn_output[{place}] = {v}[i];")
            return
        spike = f"{self._slot(node)}[i / 32] >> (i % 32) & 1u"
        if readout.kind == "spike_count":
            line = f"snn_output[{place}] += (int32_t)({spike});"
        else:
            line = f"if (snn_output[{place}] == 0 && ({spike})) snn_output[{place}] = SNN_STEPS - (int32_t)snn_t;"
        self.body.append(f"    for (int32_t i = 0; i < {node.size}; i++) {line}")

    def _main(self) -> str:
        """Return the ``main`` that was asked for."""
        if self.main == "plain":
            return harness.PLAIN
        parts = [self.at[part.name] for part in self.program.populations]
        outputs = "        fwrite(snn_output, sizeof snn_output, 1, stdout);"
        if self.main == "counts":
            counts = [(f"{node.c}_count", node) for node in parts]
            return harness.main_text(
                "Writes, for each, how many messages each neuron sent, population by population, and the outputs.",
                before="".join(f"static int32_t {name}[{node.size}];\n" for name, node in counts),
                begin="".join(f"\n        memset({name}, 0, sizeof {name});" for name, _ in counts),
                step="".join(f"\n{self._each(node)}{name}[i] += {self._sent(node)} != 0;" for name, node in counts),
                end="".join(f"        fwrite({name}, sizeof {name}, 1, stdout);\n" for name, _ in counts) + outputs,
            )
        step = ""
        for node in parts:
            step += f"\n{self._each(node)}put((int32_t){self._sent(node)});"
            for state in self.probes.get(node.name, ()):
                step += f"\n            fwrite({state}, sizeof {state}, 1, stdout);"
        return harness.main_text(
            "Writes, for each step, messages, u and v of each population, then the outputs.",
            before="static void put(int32_t x) { fwrite(&x, sizeof x, 1, stdout); }\n",
            step=step,
            end=outputs,
        )

    @staticmethod
    def _each(node: Node) -> str:
        return f"            for (int32_t i = 0; i < {node.size}; i++) "

    def _sent(self, node: Node) -> str:
        """Return what the neuron at place ``i`` sent in the step that has just been done."""
        slot = f"{node.c}[0]" if node.history == 1 else f"{node.c}[(snn_t - 1u) % {node.history}u]"
        return f"({slot}[i / 32] >> (i % 32) & 1u)" if node.bits else f"{slot}[i]"
