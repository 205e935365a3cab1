"""From the layers of a ``.net`` file to a Program: layer after layer, populations and the synapses that end in them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...toolkit.errors import FileError, UnsupportedError
from ..program import BIAS_MANTISSA, VTH_MAX, Convolution, Input, Population, Program, Readout, SigmaDelta, Synapse
from .netx_changes import ACTIVATION_UNIT, changes, input_changes
from .netx_file import Changes, Cuba, FileLayer
from .netx_layers import BIAS_EXPONENT
from .netx_weights import Kept, Matrix, Refused, dense_problem, kept_weights
from .netx_wires import bias_of, convolution_weights, delay_of, dense, wires

Kind = Literal["spike_count", "first_spike", "membrane"]
UNIT = 1 / 4096
"""SLAYER's unit of a membrane: weights are in 1/64, and Loihi shifts what arrives by 6 bits more."""
INPUT_WEIGHT = 64
"""What the importer multiplies bias-coded input by where the file does not say."""


@dataclass(frozen=True)
class Stage:
    """Where a population of the Program is in the importer's network.

    Attributes:
        name: of the population.
        shape: of its layer there, (channels, height, width) or (neurons,).
        depth: steps after which a sample arrives.
        coded: whether its input is bias-coded.
    """

    name: str
    shape: tuple[int, ...]
    depth: int
    coded: bool = False


@dataclass(frozen=True)
class Made:
    """What all layers make.

    Attributes:
        program: its integers.
        warnings: what the importer changes or the file leaves open.
        stages: the populations that the importer makes, in order.
        loadable: how many of the file's layers the importer loads.
        unloadable: why it loads no more; None if it loads all.
    """

    program: Program
    warnings: tuple[str, ...]
    stages: tuple[Stage, ...]
    loadable: int
    unloadable: str | None


class Builder:
    """Turns layer after layer into populations and synapses."""

    def __init__(self, source: str, steps: int, input_bits: int | None, input_range: tuple[float, float]) -> None:
        self.source, self.steps, self.bits, self.range = source, steps, input_bits, input_range
        self.input: Input | None = None
        self.populations: list[Population | SigmaDelta] = []
        self.synapses: list[Synapse] = []
        self.stages: list[Stage] = []
        self.warnings: list[str] = []
        self.layers = 0
        self.depth = 0
        self.unloadable: tuple[int, str] | None = None
        self.last: FileLayer | None = None
        self.flattened = False
        self.averaged = 0
        """Neurons that each class has, behind an average."""

    def add(self, layer: FileLayer) -> None:
        """Add a layer."""
        self.layers += 1
        if self.averaged:
            raise UnsupportedError(f"{layer.where}: behind an average, which sends no spikes")
        if self.last is not None and self.last.neuron is None and layer.kind not in ("flatten", "average"):
            raise UnsupportedError(f"{self.last.where}: has no neurons, so it never fires, and is not the last layer")
        if self.last is not None and isinstance(self.last.neuron, Changes) and self.last.neuron.sigma:
            raise UnsupportedError(
                f"{self.last.where}: sends what it holds (sigma_output), which only a host takes; not the last layer"
            )
        if layer.kind == "flatten":
            self.flattened = True
            return
        if layer.kind == "input":
            if layer.index:
                raise UnsupportedError(f"{layer.where}: a second input; a network has one, its layer 0")
            self._input(layer)
            return
        if layer.kind != "average":
            self.last = layer
        with _Named(layer):
            {"conv": self._convolution, "pool": self._pool, "average": self._average}.get(layer.kind, self._dense)(
                layer
            )
        self.flattened = False

    def finish(self, readout: Kind | None) -> Made:
        """Return what all layers make."""
        if self.input is None or not self.populations:
            raise FileError(f"{self.source}: no layer with neurons")
        if self.range != (0.0, 1.0) and not self.populations[0].input_bias:
            raise UnsupportedError(f"{self.source}: its input is not bias-coded, so it has no range of values")
        last = self.populations[-1]
        held = isinstance(last, SigmaDelta)
        silent = last.vth == VTH_MAX and not held
        kind: Kind = readout or ("membrane" if silent or held else "spike_count")
        if silent and kind != "membrane":
            raise UnsupportedError(f"{self.source}: the last layer does not fire, so read its membrane, not {kind!r}")
        scale = (ACTIVATION_UNIT if held else UNIT) if kind == "membrane" else None
        if self.averaged:
            scale = 1 / (64 * self.averaged)
        try:
            program = Program(
                input=self.input,
                populations=tuple(self.populations),
                synapses=tuple(self.synapses),
                readout=Readout(kind=kind, population=last.name, scale=scale),
                steps=self.steps,
            )
        except ValueError as error:  # A size that a part does not take.
            raise UnsupportedError(f"{self.source}: {error}") from error
        except UnsupportedError as error:
            raise UnsupportedError(f"{self.source}: {error}") from error
        self._check_integrators(program)
        self._check_exponents(program)
        late = [s.label for s in self.synapses if program.lag(s) >= self.steps]
        if late:
            self.warnings.append(
                f"{late[0]}: arrives after the {self.steps} steps of a sample, as do {len(late) - 1} more"
            )
        loadable, why = self.unloadable or (self.layers, None)
        return Made(program, tuple(self.warnings), tuple(self.stages), loadable, why)

    def _check_integrators(self, program: Program) -> None:
        """Check that a layer which never fires in Lava, at threshold 2^17, cannot fire at the largest of a Program."""
        if self.last is None or self.last.neuron is not None:
            return
        (last,) = (one for one in program.spiking if one.name == f"layer{self.last.index}")
        sums = sum(program.bound(s) * 2.0**s.exponent for s in program.incoming(last.name))
        most = 64 * (self.steps * sums + 2 * float(np.abs(last.bias).max()))
        if most > 64 * VTH_MAX:
            raise UnsupportedError(
                f"{self.last.where}: has no neurons, so it adds up to {most:.0f} in {self.steps} steps, which leaves "
                "Loihi's 24 bits; use fewer steps"
            )

    def _check_exponents(self, program: Program) -> None:
        """Check convolutions whose weights need an exponent: Lava keeps 24 bits of their sums, a Program 32."""
        for synapse in self.synapses:
            most = program.bound(synapse) << max(synapse.exponent, 0)
            if isinstance(synapse, Convolution) and synapse.exponent and most >= 2**23:
                raise UnsupportedError(f"{self.source}: {synapse.label}: sums up to {most} leave 24 bits")

    @property
    def _before(self) -> tuple[str, tuple[int, ...], int]:
        """Name, shape and depth of what the next layer receives."""
        if self.populations:
            return self.populations[-1].name, self.populations[-1].shape, self.depth
        assert self.input is not None
        return self.input.name, self.input.shape, 0

    def _input(self, layer: FileLayer) -> None:
        if len(layer.shape) not in (1, 3):
            raise UnsupportedError(f"{layer.where}: shape {layer.shape}, expected (neurons,) or three sizes")
        if layer.neuron is None:
            bits = self.bits or 0
            self.input = Input(shape=layer.shape, message_bits=bits, scale=1 / (2**bits - 1) if bits else 1.0)
            return
        weight = INPUT_WEIGHT if layer.weight is None else self._single(layer, "weight", layer.weight)
        bias = 0 if layer.bias is None else self._single(layer, "bias", layer.bias)
        if weight < 1:
            raise UnsupportedError(f"{layer.where}: input weight {weight}; messages of a Program are 0 or more")
        exponent, full = BIAS_EXPONENT, weight * (1 if self.bits is None else max(2**self.bits - 1, 1))
        if self.range != (0.0, 1.0):
            low, high = self.range
            ends = float(weight * low), float(weight * high)
            if self.bits is not None or not low < high or any(not end.is_integer() for end in ends):
                raise UnsupportedError(
                    f"{layer.where}: values of {low:g} to {high:g} times the input's weight, {weight}: expected rising "
                    "whole numbers, and no bits of a message (--input-range, --input-bits)"
                )
            bias, full = bias + int(ends[0]), int(ends[1] - ends[0])
        if isinstance(layer.neuron, Cuba) and self.bits is not None and not weight % 2 and not bias % 2:
            exponent, full, bias = exponent + 1, full // 2, bias // 2
        bits = full.bit_length()
        if bias + 2**bits - 1 > BIAS_MANTISSA[1] or bias < BIAS_MANTISSA[0]:
            raise UnsupportedError(
                f"{layer.where}: bias {bias} plus input up to {2**bits - 1} leaves the 13 bits of Loihi's bias; values "
                "in [0, 1] need no --input-bits"
            )
        self.input = Input(shape=layer.shape, message_bits=bits, scale=1 / full)
        if isinstance(layer.neuron, Changes):
            with _Named(layer):
                self.populations.append(input_changes(layer, layer.neuron, bias))
        else:
            self.populations.append(
                Population(
                    name=f"layer{layer.index}",
                    shape=layer.shape,
                    du=layer.neuron.du,
                    dv=layer.neuron.dv,
                    vth=layer.neuron.vth,
                    bias_exponent=exponent,
                    bias=np.full(layer.shape, bias),
                    input_bias=True,
                )
            )
        self.stages.append(Stage(self.populations[-1].name, layer.shape, 0, coded=True))

    def _single(self, layer: FileLayer, name: str, values: Matrix) -> int:
        if values.size > 1:
            raise UnsupportedError(f"{layer.where}: field {name!r} holds {values.size} values; the importer takes one")
        return int(values.item())

    def _population(self, layer: FileLayer, shape: tuple[int, ...], depth: int) -> str:
        """Add a layer's neurons; those of a layer that has none are the importer's integrators."""
        neuron = layer.neuron
        name = f"layer{layer.index}"
        if isinstance(neuron, Changes):
            self.populations.append(changes(layer, neuron, shape))
        else:
            du, dv, vth = (-1, 4096, VTH_MAX) if neuron is None else (neuron.du, neuron.dv, neuron.vth)
            exponent, bias = bias_of(layer, shape)
            self.populations.append(
                Population(name=name, shape=shape, du=du, dv=dv, vth=vth, bias_exponent=exponent, bias=bias)
            )
        self.depth = depth
        if self.unloadable is None:
            self.stages.append(Stage(name, shape, depth))
        return name

    def _not_loaded(self, layer: FileLayer, reason: str) -> None:
        if self.unloadable is None:
            self.unloadable = layer.index, f"{layer.where}: {reason}"

    def _need(self, layer: FileLayer) -> Matrix:
        if layer.weight is None:
            raise FileError(f"{layer.where}: field 'weight' is missing")
        return layer.weight

    def _dense(self, layer: FileLayer) -> None:
        weight = self._need(layer)
        neurons = int(np.prod(layer.shape)) if layer.shape else weight.shape[0]
        if weight.ndim == 1 or weight.shape[0] != neurons:
            weight = weight.reshape(neurons, -1) if weight.ndim == 1 and weight.size % neurons == 0 else weight
        weight = weight.reshape(len(weight), -1)
        if self.input is None:
            self.input = Input(shape=(weight.shape[1],), message_bits=self.bits or 0)
        source, shape, depth = self._before
        inputs = int(np.prod(shape))
        if weight.shape != (neurons, inputs):
            raise FileError(f"{layer.where}: weight of shape {weight.shape}, expected ({neurons}, {inputs})")
        parts = [weight]
        if layer.kind == "dense_rec":
            if layer.loops is None:
                raise FileError(f"{layer.where}: field 'weight_rec' is missing")
            if layer.loops.size != neurons**2:
                raise FileError(f"{layer.where}: weight_rec of shape {layer.loops.shape}, expected {neurons} squared")
            parts.append(layer.loops.reshape(neurons, neurons))
        kept = kept_weights(*parts)
        for part, one in zip(parts, kept, strict=True):
            changed = int((one.meant != part).sum())
            if changed:
                why = dense_problem(weight, 1, parts[1] if len(parts) > 1 else None)
                self.warnings.append(
                    f"{layer.where}: lava-dl's importer changes {changed} of {part.size} weights: {why}"
                )
        if not any(part.any() for part in parts):
            self._not_loaded(layer, "all weights are 0, and lava-dl's importer divides by the largest")
        delay, warning = delay_of(layer, weight.shape)
        self.warnings += warning
        depth += 1 + int(delay.min())
        name = self._population(layer, (neurons,), depth)
        self.synapses += wires(source, name, kept[0], delay)
        if len(kept) > 1:
            if delay.any():
                raise Refused("loops behind delays, where the importer delays the loops too and loses their exponent")
            self.synapses.append(dense(name, name, kept[1]))

    def _image(self, layer: FileLayer) -> tuple[str, tuple[int, int, int], int]:
        """Return what a layer receives that needs an image."""
        if self.input is None:
            raise Refused("is the first layer, so nothing says what images it takes; lava-dl writes an input before it")
        source, shape, depth = self._before
        if len(shape) != 3 or self.flattened:
            raise Refused(f"comes behind {'a flatten' if self.flattened else f'neurons of shape {shape}'}: no images")
        if layer.delay is not None and layer.delay.any():
            raise Refused("delays of convolutions and pools, which lava-dl's importer ignores")
        return source, (shape[0], shape[1], shape[2]), depth

    def _convolution(self, layer: FileLayer) -> None:
        weight = self._need(layer)
        if weight.ndim not in (4, 5) or weight.shape[4:] not in ((), (1,)):
            raise FileError(
                f"{layer.where}: weight of shape {weight.shape}, expected four sizes (out, in, height, width)"
            )
        self._image(layer)
        geometry = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
        self._convolve(layer, weight.reshape(weight.shape[:4]), geometry)

    def _pool(self, layer: FileLayer) -> None:
        kernel = self._need(layer)
        _, (channels, height, width), _ = self._image(layer)
        if kernel.ndim < 4 or kernel.size != kernel.shape[2] * kernel.shape[3]:
            raise FileError(f"{layer.where}: weight of shape {kernel.shape}, expected (1, 1, height, width)")
        size = kernel.shape[2], kernel.shape[3]
        fits = not (height % size[0] or width % size[1])
        if layer.stride != size or layer.padding != (0, 0) or layer.dilation != (1, 1) or not fits:
            raise Refused(
                f"windows of {size} with stride {layer.stride}, padding {layer.padding} and dilation {layer.dilation} "
                f"on images of {(height, width)}; SLAYER sums over the edge between channels unless they tile the image"
            )
        self._not_loaded(layer, "lava-dl's importer loads no pools")
        weight = np.broadcast_to(kernel.reshape(1, 1, *size), (channels, 1, *size))
        self._convolve(layer, weight, {"stride": size, "groups": channels})

    def _convolve(self, layer: FileLayer, weight: Matrix, geometry: dict[str, Any]) -> None:
        source, shape, depth = self._before
        kept = convolution_weights(weight)
        name = f"layer{layer.index}"
        synapse = Convolution(
            source=source,
            target=name,
            weight=kept.weight,
            bits=kept.bits,
            sign=kept.sign,
            exponent=kept.exponent,
            **geometry,
        )
        found = synapse.output_shape(shape)
        if layer.shape and layer.shape != found:
            raise FileError(f"{layer.where}: shape {layer.shape}, but its synapses give {found}")
        self._population(layer, found, depth + 1)
        self.synapses.append(synapse)

    def _average(self, layer: FileLayer) -> None:
        """Add the mean over groups of neurons, SLAYER's read-out: integrators that count the spikes of each group."""
        if not self.populations or self.last is None or self.last.neuron is None:
            raise Refused("nothing fires before it")
        if isinstance(self.last.neuron, Changes):
            raise Refused("a mean of graded changes; read the layer before it")
        source, shape, _ = self._before
        inputs, outputs = int(np.prod(shape)), int(np.prod(layer.shape)) if layer.shape else 0
        if not outputs or inputs % outputs:
            raise FileError(f"{layer.where}: {outputs} means of {inputs} neurons; expected a divisor")
        self.averaged = inputs // outputs
        if self.averaged * self.steps > VTH_MAX:
            raise Refused(f"counts up to {self.averaged * self.steps} spikes, which leaves Loihi's 24 bits")
        name = f"layer{layer.index}"
        zeros = np.zeros(outputs, dtype=np.int64)
        self.populations.append(Population(name=name, shape=(outputs,), du=4095, dv=0, vth=VTH_MAX, bias=zeros))
        weight = np.repeat(np.eye(outputs, dtype=np.int64), self.averaged, axis=1)
        self.synapses.append(dense(source, name, Kept(weight, 8, "excitatory", 0)))
        self._not_loaded(layer, "lava-dl's importer loads no averages")


class _Named:
    """Puts a layer's place before what is refused within."""

    def __init__(self, layer: FileLayer) -> None:
        self.layer = layer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileError):
            return
        if isinstance(error, Refused | UnsupportedError | ValueError):
            raise UnsupportedError(f"{self.layer.where}: {error}") from error
