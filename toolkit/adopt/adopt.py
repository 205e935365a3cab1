"""One door for PyTorch modules: watch, translate, prove."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..coding import Coder, Direct, Events
from ..errors import DisagreementError, InputError, SpikeproofError, UnsupportedError
from ..network.foreign import reset, stateful, tensors
from ..network.layers import Layer, Membrane
from ..network.network import SpikingNetwork, spiking
from ..network.neurons import Neuron
from ..network.population import LeakyIntegrator
from .build import Built, build
from .graph import Value
from .others import other_counts, other_inputs
from .trace import Recorder

ELSEWHERE = "adopt: on inputs other than the sample (other numbers of them; black, white, noise) the model is another"
TIES = 1e-4
"""Share of spikes that may differ where both run in float32: membranes at the threshold, added up in another order."""


@dataclass(frozen=True)
class Proof:
    """What was compared.

    Attributes:
        samples: how many.
        dtype: float64, or float32 where the model runs in no other.
        spikes: that were compared, by layer: spikes that differ, and all.
        logits: largest difference.
        classes: samples whose class differs.
        silent: populations none of whose neurons fired, of which nothing is proved but that.
        others: inputs beside the sample on which both answered alike: black, white and noise.
        failed: in words, on how many others the model failed, so that nothing is proved there.
    """

    samples: int
    dtype: str
    spikes: dict[str, tuple[int, int]]
    logits: float
    classes: int
    silent: tuple[str, ...]
    others: int = 0
    failed: tuple[str, ...] = ()

    @property
    def differing(self) -> int:
        """How many spikes differ."""
        return sum(differ for differ, _ in self.spikes.values())


@dataclass
class Adopted:
    """A network that was adopted.

    Attributes:
        network: trainable and attackable, in evaluation mode.
        shape: (channels, height, width) of an image.
        readout: in words.
        notes: what was assumed, by layer.
        reasons: why a layer has no form on the chip, by layer.
        proof: by execution.
        images: the samples, as the coder takes them.
    """

    network: SpikingNetwork
    shape: tuple[int, int, int]
    readout: str
    notes: dict[str, list[str]]
    reasons: dict[str, str]
    proof: Proof
    images: Tensor


def _checked(model: nn.Module) -> nn.Module:
    """Return a copy of a model on the CPU.

    Raises:
        InputError: it is in training mode, in half precision, or cannot be copied.
    """
    training = [name or type(part).__name__ for name, part in model.named_modules() if part.training]
    if training:
        raise InputError(f"adopt: module {training[0]!r} is in training mode; call model.eval() first")
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and tensor.dtype in (torch.float16, torch.bfloat16):
            raise InputError(f"adopt: {name!r} is in half precision; give model.float()")
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"adopt: {name!r} holds NaN or infinity")
    try:
        try:
            return copy.deepcopy(model).cpu()
        except RuntimeError:
            # A state that holds its history cannot be copied; where a sample starts there is none.
            reset(model, stateful(model, Neuron))
            return copy.deepcopy(model).cpu()
    except (RuntimeError, AttributeError, TypeError) as error:
        raise InputError(
            f"adopt: the model cannot be copied ({error}); copy.deepcopy(model) must work, which it does not where a "
            "tensor with a history is kept, or a layer brings a copy of its own"
        ) from error


def _run(
    model: nn.Module,
    sample: Tensor,
    recorder: Recorder,
    time: int | None,
    steps: int | None,
    output: Callable[[Any], Any] | int | None,
) -> tuple[Tensor, Value]:
    """Run a model under watch; where one call is one step, as many times as asked. Return logits and what they are."""
    reset(model, stateful(model, Neuron))
    first = Value(recorder.source, "each") if time is None else Value(recorder.source, "run", axis=time)
    recorder.static = time is None

    def call(x: Tensor, value: Value) -> tuple[Tensor, Value]:
        recorder.set(x, value, x.shape[value.axis] if value.when == "run" else None)
        found = model(x)
        if recorder.refused is not None:
            raise recorder.refused
        if callable(output):
            found = output(found)
        elif not isinstance(found, Tensor):
            parts = list(tensors(found))
            if len(parts) <= (output or 0):
                what = f"{len(parts)} tensors" if parts else f"a {type(found).__name__} without a tensor"
                raise InputError(f"adopt: output {output or 0} is asked for, but the model returns {what}")
            found = parts[output or 0]
        read = recorder.value(found)
        if read is None:
            raise UnsupportedError(
                "what the model returns cannot be followed back to the sample: a custom function made it "
                "(autograd.Function, NumPy); or say which output with output="
            )
        return found, read

    def again(x: Tensor) -> bool:
        return all(seen.calls == 1 and seen.found.axis is None for seen in recorder.neurons.values()) and steps != 1

    with torch.no_grad(), recorder.watching():
        found, read = call(sample, first)
        if read.when != "at" or not recorder.neurons or not again(sample):
            if recorder.steps is None and recorder.neurons:
                recorder.steps = max(seen.calls for seen in recorder.neurons.values())
            return found, read
        if time is not None or steps is None:
            raise InputError("adopt: one call of the model is one time step; say how many with steps=")
        total, factor = found, read.factor
        for step in range(1, steps):
            now, value = call(sample.clone(), first)
            if value.when != "at" or value.step != step:
                raise UnsupportedError("the model does not go on from one call to the next")
            total = total + now
        recorder.steps = steps
        return total, Value(read.node, "sum", steps=frozenset(range(steps)), factor=factor)


def _multi(part: nn.Module) -> bool:
    return getattr(part, "step_mode", "s") == "m"


def _sample(sample: Any, time: int | None) -> Tensor:
    try:
        found = torch.as_tensor(sample)
    except (TypeError, ValueError, RuntimeError) as error:
        what = type(sample).__name__
        raise InputError(f"adopt: a {what} is no sample; give an array or tensor (samples, ...)") from error
    if found.dtype.is_complex or (found.is_floating_point() and not bool(torch.isfinite(found).all())):
        raise InputError("adopt: the sample holds NaN, infinity or complex numbers")
    if found.dim() < 2 + (time is not None) or 0 in found.shape:
        raise InputError(f"adopt: samples of shape {tuple(found.shape)}; expected (samples, ...), and the axis of time")
    # A copy: the model may write into what it gets.
    return found.detach().cpu().to(torch.float32, copy=True)


def adopt_module(
    model: nn.Module,
    sample: Any,
    *,
    steps: int | None = None,
    time: int | None = None,
    output: Callable[[Any], Any] | int | None = None,
    coder: Coder | None = None,
) -> Adopted:
    """Return a PyTorch module as a network of this package, proven equal on samples.

    The model is run and watched: every layer and function that it calls, at every time step. What was seen is folded
    over time into one network, which then runs beside the model, in float64, and every spike of every population and
    every logit is compared: on the samples, and on others, see :func:`other_inputs`.

    Args:
        model: of snnTorch, SpikingJelly, norse, sinabs or this package, in evaluation mode; not changed, but that a
            state with a history, which cannot be copied, is reset.
        sample: what it is called with: (samples, ...), or with an axis of time.
        steps: time steps, where one call of the model is one step, or where it takes images repeated along axis 0.
        time: the axis of time in ``sample``, 0 or 1; None for images.
        output: of what it returns: an index, or a function of it; by default the first tensor.
        coder: what made the sample of images; for spikes over time the coder ``events``, for images ``direct``.

    Raises:
        InputError: the model or the sample cannot be used as they are.
        UnsupportedError: something in it has no form here; the module or function is named.
        DisagreementError: the adopted network gives other spikes; the first layer, step and neuron are named.
    """
    if steps is not None and (type(steps) is not int or steps < 1):
        raise InputError(f"adopt: steps={steps!r}, expected a whole number from 1 on")
    if time not in (None, 0, 1):
        raise InputError(f"adopt: time={time!r}, expected 0 or 1, or None for images")
    if coder is not None and not isinstance(coder, Coder):
        raise InputError(f"adopt: coder={coder!r}, expected a coder, as SpikingNetwork.coder")
    if output is not None and not callable(output) and type(output) is not int:
        raise InputError(f"adopt: output={output!r}, expected an index, or a function of what the model returns")
    # Layers that are made draw weights, before they get theirs: the caller's generator is left alone.
    with torch.random.fork_rng(devices=[]):
        return _adopted(model, _sample(sample, time), steps, time, output, coder)


def _adopted(
    model: nn.Module,
    x: Tensor,
    steps: int | None,
    time: int | None,
    output: Callable[[Any], Any] | int | None,
    coder: Coder | None,
) -> Adopted:
    copied = _checked(model)
    names = {id(part): name or type(part).__name__ for name, part in copied.named_modules()}
    if time is None and steps is not None and any(_multi(part) for part in copied.modules()):
        x, time, repeated = x.unsqueeze(0).repeat(steps, *[1] * x.dim()), 0, True
    else:
        repeated = False
    if coder is None and time is not None and not repeated and not bool(((x == 0) | (x == 1)).all()):
        raise InputError(
            "adopt: sequences of values other than 0 and 1 have no coder; give spikes, or the images and steps="
        )
    for wide in (True, False):
        runs = copied.double() if wide else copied.float()
        recorder = Recorder(names, tuple(x.shape[2 if time is not None else 1 :]))
        try:
            logits, read = _run(runs, x.double() if wide else x, recorder, time, steps, output)
            break
        except RuntimeError as error:
            if not wide:
                raise InputError(f"adopt: the model fails on a sample of shape {tuple(x.shape)} ({error})") from error
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(
                f"adopt: the model fails on a sample of shape {tuple(x.shape)} ({type(error).__name__}: {error})"
            ) from error
    total = recorder.steps
    if steps is not None and total not in (None, steps):
        raise InputError(f"adopt: steps={steps}, but the model runs {total} time steps by itself; leave steps out")
    if coder is None:
        coder = Direct(total or 1) if time is None or repeated else Events(total or 1)
    built = build(recorder, read, coder)
    images = _images(x, time, repeated, built.shape)
    proof = _prove(built, recorder, logits, read, images, wide)
    others, failed = 0, []
    for count in other_counts(x, time):
        again = other_inputs(x, time, count)
        if repeated:
            again = again[:1].expand_as(again).clone()
        answer = _elsewhere(runs, again, recorder, read, built, (time, steps, output), repeated, wide)
        if isinstance(answer, str):
            failed.append(f"on {count} other inputs the model fails ({answer}): nothing is proved there")
        else:
            others += answer
    proof = replace(proof, others=others, failed=tuple(failed))
    reasons = why_not(built.network)
    return Adopted(built.network.float(), built.shape, built.readout, recorder.notes, reasons, proof, images)


def _elsewhere(
    model: nn.Module,
    x: Tensor,
    recorder: Recorder,
    read: Value,
    built: Built,
    how: tuple[int | None, int | None, Callable[[Any], Any] | int | None],
    repeated: bool,
    wide: bool,
) -> int | str:
    """Compare model and network on other inputs, and return on how many, or how the model fails there.

    A layer may have been made for one number of samples.

    Raises:
        UnsupportedError: it computes something else there.
        DisagreementError: spikes or logits differ.
    """
    other = Recorder(recorder.names, recorder.given)
    try:
        try:
            logits, found = _run(model, x.double() if wide else x, other, *how)
        except SpikeproofError:
            raise
        except Exception as error:  # Whatever a model of the user's may raise.
            return f"{type(error).__name__}: {error}"
        if found != read or other.described() != recorder.described():
            raise UnsupportedError("it calls other layers")
        return _prove(built, other, logits, read, _images(x, how[0], repeated, built.shape), wide).samples
    except UnsupportedError as error:
        raise UnsupportedError(f"{ELSEWHERE}: {error}") from error
    except DisagreementError as error:
        raise DisagreementError(f"{ELSEWHERE}: {error}") from error


def _images(x: Tensor, time: int | None, repeated: bool, shape: tuple[int, int, int]) -> Tensor:
    """Return a sample as the coder takes it."""
    if repeated:
        return x[0].reshape(-1, *shape)
    if time is None:
        return x.reshape(-1, *shape)
    sequences = x.transpose(0, 1) if time == 0 else x
    return sequences.reshape(*sequences.shape[:2], *shape)


def why_not(network: SpikingNetwork) -> dict[str, str]:
    """Return the layers that have no exact form in Loihi's integers, with the reasons."""
    found = {}
    layers = dict(network.named_layers())
    for name, layer in layers.items():
        if isinstance(layer, Membrane):
            try:
                layer.dynamics()
            except UnsupportedError as error:
                found[name] = str(error)
        elif isinstance(layer, Layer) and layer.undeployable is not None:
            found[name] = layer.undeployable
        elif isinstance(layer, nn.MaxPool2d):
            before = [layers.get(source) for source in network.sources(name)]
            if not all(network.coder.binary if part is None else spiking(part) for part in before):
                found[name] = "max pooling of currents has no exact form; 'adapt' puts it behind the neurons"
    return found


def _prove(built: Built, recorder: Recorder, logits: Tensor, read: Value, images: Tensor, wide: bool) -> Proof:
    network = built.network.double() if wide else built.network
    sent: dict[str, Tensor] = {}
    with torch.no_grad():
        last = network.spikes(images.double() if wide else images, sent.__setitem__)
        found = network.logits(last)
    spikes: dict[str, tuple[int, int]] = {}
    silent = []
    layers = dict(network.named_layers())
    for one, name in built.populations.items():
        if isinstance(layers[name], LeakyIntegrator):
            continue  # what it is read by, the logits, is compared below
        seen = torch.stack(recorder.neurons[one].spikes)
        ours = sent[name].reshape(seen.shape) if sent[name].numel() == seen.numel() else None
        if ours is None:
            raise DisagreementError(
                f"adopt: layer {name!r} sends {tuple(sent[name].shape)}, the model {tuple(seen.shape)}"
            )
        differ = ours != seen
        spikes[name] = int(differ.sum()), differ.numel()
        if not bool(seen.any()):
            silent.append(name)
        if spikes[name][0] > (0 if wide else TIES * differ.numel()):
            step, sample, *where = (int(part) for part in np.argwhere(differ.numpy())[0])
            raise DisagreementError(
                f"adopt: layer {name!r} gives other spikes than the model: first at step {step}, neuron "
                f"{tuple(where)} of sample {sample}; {spikes[name][0]} of {spikes[name][1]} differ"
            )
    reference = _reference(logits, read, recorder.steps or 1)
    if reference.shape != found.shape:
        raise DisagreementError(
            f"adopt: logits of shape {tuple(found.shape)}, the model's are {tuple(reference.shape)}"
        )
    gap = float((reference - found).abs().max())
    classes = int((reference.argmax(1) != found.argmax(1)).sum())
    if gap > (1e-6 if wide else 1e-3) * max(1.0, float(reference.abs().max())) and not any(
        n for n, _ in spikes.values()
    ):
        raise DisagreementError(f"adopt: spikes are equal, but logits differ by {gap:g}; the read-out is another")
    return Proof(len(images), "float64" if wide else "float32", spikes, gap, classes, tuple(silent))


def _reference(logits: Tensor, read: Value, steps: int) -> Tensor:
    """Return the model's answer as one number a class: where it gave all steps, their mean."""
    return logits.mean(read.axis) if read.when == "run" else logits
