"""A Program rewritten as what lava-dl 0.6.0's importer ``netx`` can load: one chain of layers, exact in every integer.

A layer is a synapse and the neurons behind it. What the importer lacks is written with what it has:

* weight exponents go into the weights, biases to the fixed exponent 6, synapses between the same populations are added;
* populations side by side (concatenation) are one layer, where they share decays and threshold;
* loops from a layer to itself are its recurrent weights;
* a path around a layer (residual) goes through it, by relay neurons that repeat each spike one step later;
* pooling is what it is in a Program anyway: a population behind a grouped convolution;
* what a dense layer of the importer would change is a convolution whose kernel covers its whole input.

The rest is refused with the reason.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..program import Convolution, Dense, Population, Program, SigmaDelta, Sparse, Synapse
from .netx_weights import Matrix, Refused, dense_problem, scaled, sides, whole_matrix

BIAS_EXPONENT = 6
SIZE_LIMIT = 2**24
"""Most weights of a dense layer: above, Lava would need gigabytes."""
DELAYED_LIMIT = 2**18
"""Most weights of a delayed dense layer: Lava makes 63 copies of them in each step."""
KERNEL_LIMIT = 2**14
"""Most kernels (outputs times inputs) of a convolution: Lava calls SciPy once for each, in each step."""
FIELD_LIMIT = 127
"""Lava keeps stride, padding, dilation, groups and kernel size in 8 bits."""


@dataclass(frozen=True)
class Member:
    """Which neurons of a layer, flattened as (C, H, W), are the population ``name``, or relay what it sends."""

    name: str
    start: int
    size: int
    relay: bool = False


@dataclass(frozen=True)
class Layer:
    """One layer of the file; ``input`` has neurons only where the input is bias-coded.

    Attributes:
        kind: type in the file.
        depth: steps after which a sample arrives here.
        shape: as in the file: (channels, height, width) or (neurons,).
        members: what its neurons are.
        du, dv, vth: of its neurons.
        bias: mantissa a neuron, flattened as (C, H, W), to exponent 6; None where all are 0.
        transform: bias-coded input: the mantissa is weight times the message plus bias.
        weight: (out, in) or (out, in / groups, height, width).
        delay: further steps, dense only.
        loops: weights from the layer's own spikes of the step before, dense_rec only.
    """

    kind: Literal["input", "dense", "dense_rec", "conv"]
    depth: int
    shape: tuple[int, ...]
    members: tuple[Member, ...]
    du: int | None = None
    dv: int = 0
    vth: int = 0
    bias: Matrix | None = None
    transform: tuple[int, int] = (1, 0)
    weight: Matrix | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    delay: int = 0
    loops: Matrix | None = None


@dataclass(frozen=True)
class Net:
    """A whole file.

    Attributes:
        layers: the first is the input.
        message_bits: of the input.
    """

    layers: tuple[Layer, ...]
    message_bits: int

    def flattened(self, index: int) -> bool:
        """Return whether a ``flatten`` comes before layer ``index``: a dense one behind neurons in an image."""
        layer, before = self.layers[index], self.layers[index - 1]
        return layer.kind != "conv" and len(before.shape) == 3 and before.du is not None


class _Rewriter:
    """The steps of :func:`rewrite`: judge each part, place populations in layers, then write layer after layer."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.depths = program.depths()
        self.reasons: list[str] = []
        self.layers: list[list[Member]] = []

    def judge(self) -> None:
        """Collect the reasons that lie in one population or synapse alone."""
        program, depths = self.program, self.depths
        if program.profile != "lava":
            self.reasons.append(f"profile {program.profile!r}: lava-dl computes as lava")
        if names := ", ".join(repr(population.name) for population in program.sigma_delta):
            self.reasons.append(
                f"populations {names}: the importer shifts weights within 32 bits, and messages of sigma-delta neurons "
                "have no bound to prove such sums exact with; a .net file that holds them runs there itself "
                "(spikeproof import FILE.net --netx N)"
            )
        for population in program.populations:
            where = f"population {population.name!r}"
            if isinstance(population, SigmaDelta):
                continue
            if not isinstance(population, Population):
                self.reasons.append(f"{where}: netx has no {type(population).__name__.lower()} units")
            elif ((population.bias.astype(np.int64) << population.bias_exponent) % 2**BIAS_EXPONENT).any():
                self.reasons.append(f"{where}: netx adds mantissa 2^6, and these biases are no multiples of 64")
            elif population.input_bias and (depths[population.name] or len(np.unique(population.bias)) > 1):
                self.reasons.append(
                    f"{where}: bias-coded input in netx is the first layer, with one bias for all neurons"
                )
            elif population.input_bias and population.bias_exponent < BIAS_EXPONENT:
                self.reasons.append(f"{where}: bias-coded input needs bias exponent 6 or 7, netx's is 6")
        coded = [population for population in program.spiking if population.input_bias]
        for synapse in program.synapses:
            if self._loop(synapse) and depths[synapse.target] == 0:
                self.reasons.append(f"{synapse.label}: a loop in bias-coded input; the input of netx has no weights")
        if coded and (len(coded) > 1 or any(synapse.source == program.input.name for synapse in program.synapses)):
            self.reasons.append(
                f"input {program.input.name!r}: arrives bias-coded and elsewhere too; netx has one input"
            )
        for synapse in program.synapses:
            lag = program.lag(synapse)
            if not isinstance(synapse, Dense | Sparse | Convolution):
                self.reasons.append(f"{synapse.label}: netx has no synapses of kind {type(synapse).__name__!r}")
            elif not self._loop(synapse) and not program.forward(synapse):
                self.reasons.append(f"{synapse.label}: is recurrent; loops of netx take one step, within one layer")
            elif not self._loop(synapse) and lag:
                self.reasons.append(
                    f"{synapse.label}: arrives {lag} steps after its sample; netx resets layer after layer in step "
                    "with the sample, so what is under way would reach the next one; delay the shorter paths as much"
                )
            else:
                try:
                    scaled(synapse)
                except Refused as refused:
                    self.reasons.append(str(refused))

    def _loop(self, synapse: Synapse) -> bool:
        """Return whether a synapse stays within one layer."""
        return synapse.delay == 0 and self.depths[synapse.source] == self.depths[synapse.target]

    def place(self) -> None:
        """Find the members of each layer, in order of depth: populations, then relays of what passes through."""
        program, depths = self.program, self.depths
        coded = any(population.input_bias for population in program.spiking)
        for depth in sorted(set(depths.values())):
            names = [name for name in depths if depths[name] == depth and not (coded and name == program.input.name)]
            passing = dict.fromkeys(s.source for s in program.synapses if depths[s.source] < depth < depths[s.target])
            members: list[Member] = []
            for name in [*names, *passing]:
                start = members[-1].start + members[-1].size if members else 0
                members.append(Member(name, start, int(np.prod(program.shape_of(name))), name in passing))
            self.layers.append(members)
        for members in self.layers[0 if coded else 1 :]:
            self._check_shared(members)

    def _check_shared(self, members: list[Member]) -> None:
        """Check what all neurons of one layer share, and that relays repeat exactly."""
        populations = [self._population(member) for member in members if not member.relay]
        first, where = populations[0], ", ".join(repr(population.name) for population in populations)
        for what in ("du", "dv", "vth"):
            if len({getattr(population, what) for population in populations}) > 1:
                self.reasons.append(f"populations {where}: arrive at one time, so in one layer, but differ in {what}")
        for relay in (member.name for member in members if member.relay):
            if self.program.peak(relay) > 1:
                self.reasons.append(f"{relay!r}: its graded messages go around {where}; a relay repeats only spikes")
            if first.du != 4095:
                self.reasons.append(
                    f"{relay!r}: goes around {where}, whose du {first.du} keeps a relay from repeating it"
                )

    def _population(self, member: Member) -> Population:
        population = self.program.population(member.name)
        assert isinstance(population, Population)
        return population

    def write(self, images: int) -> Net:
        """Return the file with layers 1 to ``images`` as convolutions, the others as they come.

        Raises:
            _Failed: a layer has no exact form in this way.
        """
        layers = [self._input(images > 0)]
        for index in range(1, len(self.layers)):
            try:
                layers.append(self._layer(index, layers[-1], index <= images))
            except Refused as refused:
                raise _Failed(index, str(refused)) from refused
        return Net(tuple(layers), self.program.input.message_bits)

    def _input(self, image: bool) -> Layer:
        shape, members = self.program.shape_of(self.layers[0][0].name), tuple(self.layers[0])
        if len(shape) < 3:
            shape = (int(np.prod(shape)), 1, 1) if image else (int(np.prod(shape)),)
        if members[0].name == self.program.input.name:
            return Layer("input", 0, shape, members)
        population = self._population(members[0])
        weight = 2 ** (population.bias_exponent - BIAS_EXPONENT)
        transform = (weight, weight * int(population.bias.flat[0]))
        return Layer("input", 0, shape, members, population.du, population.dv, population.vth, transform=transform)

    def _layer(self, index: int, before: Layer, image: bool) -> Layer:
        program, members = self.program, self.layers[index]
        first = self._population(members[0])
        depth = self.depths[first.name]
        bias = np.zeros(sum(member.size for member in members), dtype=np.int64)
        for member in members:
            if not member.relay:
                population = self._population(member)
                exact = population.bias.astype(np.int64) << population.bias_exponent
                bias[member.start : member.start + member.size] = exact.ravel() >> BIAS_EXPONENT
        delay = depth - before.depth - 1
        base = {"depth": depth, "members": tuple(members), "du": first.du, "dv": first.dv, "vth": first.vth}
        base |= {"bias": bias if bias.any() else None}
        synapses = list(program.incoming(first.name))
        alone = len(members) == 1 and len(before.members) == 1 and len(synapses) == 1 and delay == 0
        if alone and isinstance(synapses[0], Convolution) and before.shape == program.shape_of(synapses[0].source):
            conv = self._convolution(synapses[0])
            if conv is not None:
                return Layer(kind="conv", shape=first.shape, **base, **conv)  # type: ignore[arg-type]
        matrix = self._joined(index, before)
        loops = self._loops(index)
        peak = program.input.peak if index == 1 and before.du is None else 1
        if not image:
            problem = dense_problem(matrix, peak, loops)
            if problem:
                raise Refused(f"as a dense layer: {problem}")
            if delay and loops is not None:
                raise Refused("a dense layer with loops: the importer would delay the loops too")
            if delay and matrix.size > DELAYED_LIMIT:
                raise Refused(f"a delayed dense layer of {matrix.size} weights; Lava copies them 63 times in each step")
            shape = (len(matrix),)
            kind = "dense" if loops is None else "dense_rec"
            return Layer(kind, shape=shape, weight=matrix, delay=delay, loops=loops, **base)  # type: ignore[arg-type]
        channels, *kernel = before.shape
        if loops is not None:
            raise Refused("as a convolution: loops do not exist there")
        if delay:
            raise Refused("as a convolution: the importer ignores delays there")
        if sides(matrix) * peak >= 2**23:
            raise Refused(f"as a convolution: sums up to {sides(matrix) * peak} leave 24 bits")
        if max(kernel) > FIELD_LIMIT or len(matrix) * channels > KERNEL_LIMIT:
            raise Refused(f"as a convolution: {len(matrix)} x {channels} kernels of {kernel} are too many or too large")
        weight = matrix.reshape(-1, *before.shape)
        return Layer(kind="conv", shape=(len(matrix), 1, 1), weight=weight, **base)  # type: ignore[arg-type]

    def _convolution(self, synapse: Convolution) -> dict[str, object] | None:
        """Return a convolution as it is, or None where it must be unrolled."""
        weight = scaled(synapse)
        bound = sides(weight.reshape(len(weight), -1)) * self.program.peak(synapse.source)
        fields = (*synapse.stride, *synapse.padding, *synapse.dilation, *weight.shape[2:], synapse.groups)
        # Lava's convolution keeps 24 bits of its sum; a synapse with an exponent keeps 32.
        limit = 2**23 if synapse.exponent else 2**31
        if max(fields) > FIELD_LIMIT or max(bound, self.program.bound(synapse)) >= limit:
            return None
        return {
            "weight": weight,
            "stride": synapse.stride,
            "padding": synapse.padding,
            "dilation": synapse.dilation,
            "groups": synapse.groups,
        }

    def _joined(self, index: int, before: Layer) -> Matrix:
        """Return all weights between two layers as one matrix, relays included."""
        members = self.layers[index]
        columns = {member.name: slice(member.start, member.start + member.size) for member in before.members}
        size = (members[-1].start + members[-1].size, before.members[-1].start + before.members[-1].size)
        if size[0] * size[1] > SIZE_LIMIT:
            raise Refused(f"as a dense layer: {size[0]} x {size[1]} weights, more than {SIZE_LIMIT}")
        matrix = np.zeros(size, dtype=np.int64)
        for member in members:
            rows = slice(member.start, member.start + member.size)
            if member.relay:
                # Just above the threshold: each spike fires its relay, which then forgets it.
                vth = self._population(members[0]).vth
                matrix[rows, columns[member.name]] = np.eye(member.size, dtype=np.int64) * (vth + 1)
                continue
            for synapse in self.program.incoming(member.name):
                if not self._loop(synapse):
                    matrix[rows, columns[synapse.source]] += whole_matrix(self.program, synapse)
        return matrix

    def _loops(self, index: int) -> Matrix | None:
        """Return the weights within a layer, or None if there are none."""
        members = self.layers[index]
        places = {member.name: slice(member.start, member.start + member.size) for member in members}
        loops = [
            s for member in members if not member.relay for s in self.program.incoming(member.name) if self._loop(s)
        ]
        size = members[-1].start + members[-1].size
        if not loops:
            return None
        if size**2 > SIZE_LIMIT:
            raise Refused(f"as a dense layer: {size} x {size} weights, more than {SIZE_LIMIT}")
        matrix = np.zeros((size, size), dtype=np.int64)
        for synapse in loops:
            matrix[places[synapse.target], places[synapse.source]] += whole_matrix(self.program, synapse)
        return matrix


class _Failed(Exception):
    """Layer ``index`` could not be written in a certain way."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


def rewrite(program: Program) -> tuple[Net | None, list[str]]:
    """Return ``program`` as a file for netx and no reasons, or None and every reason why it has no exact form."""
    rewriter = _Rewriter(program)
    rewriter.judge()
    if rewriter.reasons:
        return None, rewriter.reasons
    rewriter.place()
    if rewriter.reasons:
        return None, rewriter.reasons
    images = 0
    obstacles: dict[str, None] = {}
    while True:
        try:
            return rewriter.write(images), []
        except _Failed as failed:
            names = ", ".join(repr(member.name) for member in rewriter.layers[failed.index] if not member.relay)
            obstacles[f"population {names}: {failed}"] = None
            if failed.index <= images:
                return None, ["; ".join(obstacles)]
            # A convolution needs an image before it, so all layers up to here must be convolutions.
            images = failed.index
