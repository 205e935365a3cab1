"""Neurons of snnTorch, SpikingJelly, norse and sinabs, read into the equations of :class:`..network.population`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedError
from ..network.foreign import fires, framework
from ..network.neurons import Neuron
from ..network.population import LeakyIntegrator, Population, Reset
from ..network.surrogates import KINDS, Kind, Surrogate, derivative_of

PROBES = (0.0, 0.2, 0.7, 1.5)
"""Distances from the threshold at which a surrogate is looked at to tell which one it is."""


@dataclass
class Found:
    """A neuron module of another framework, as it was read.

    Attributes:
        layer: the same equations.
        loop: through which its spikes come back one step later.
        axis: of time in its input: 0 or 1; None: a call is a step. "fold": samples and steps folded, samples first.
        notes: what was assumed.
    """

    layer: Population | LeakyIntegrator
    loop: nn.Module | None = None
    axis: int | str | None = None
    notes: list[str] = field(default_factory=list)


def is_neuron(module: nn.Module) -> bool:
    """Return whether a module is one of another framework's neurons, known here or not."""
    return framework(module) is not None and (_reader(module) is not None or _stateful(module))


def read_neuron(module: nn.Module) -> Found:
    """Return a neuron module as equations.

    Raises:
        UnsupportedError: its equations are others; the reason, without its name.
    """
    reader = _reader(module)
    if reader is None:
        raise UnsupportedError(f"{framework(module)}'s {type(module).__name__} has other equations than LIF neurons")
    return reader(module)


def _stateful(module: nn.Module) -> bool:
    names = {"snntorch": "reset_mem", "spikingjelly": "v_threshold", "sinabs": "v_mem", "norse": "dt"}
    return hasattr(module, names[framework(module) or ""])


def _reader(module: nn.Module) -> Callable[[Any], Found] | None:
    readers = {
        "snntorch": {
            "Leaky": _snntorch,
            "Synaptic": _snntorch,
            "RLeaky": _snntorch,
            "RSynaptic": _snntorch,
            "Lapicque": _lapicque,
        },
        "spikingjelly": {
            "IFNode": _spikingjelly,
            "SimpleIFNode": _spikingjelly,
            "LIFNode": _spikingjelly,
            "SimpleLIFNode": _spikingjelly,
            "ParametricLIFNode": _spikingjelly,
        },
        "norse": {
            "LIFCell": _norse,
            "LIF": _norse,
            "LIFBoxCell": _norse,
            "IAFCell": _norse,
            "LICell": _norse,
            "LI": _norse,
        },
        "sinabs": {"LIF": _sinabs, "IAF": _sinabs, "LIFSqueeze": _sinabs, "IAFSqueeze": _sinabs, "ExpLeak": _sinabs},
    }
    # A class of somebody's own that derives from one of these may do anything.
    root = type(module).__module__.partition(".")[0]
    return readers.get(root, {}).get(type(module).__name__)


def surrogate_of(spike: Callable[[Tensor], Tensor] | None, notes: list[str]) -> tuple[Kind, float]:
    """Return shape and sharpness of a surrogate, told by its values; arctan of 2, and a note, if it is another.

    Args:
        spike: a function of v - threshold; None if it could not be found.
        notes: where the note goes.
    """
    x = torch.tensor([*PROBES, *(-one for one in PROBES)], dtype=torch.float32)
    if spike is not None:
        if not fires(spike, torch.device("cpu")):
            raise UnsupportedError("its spike function is no step at the threshold")
        slopes = _slopes(spike, x)
        for kind in KINDS:
            sharpness = float(slopes[0]) / float(Surrogate(kind, 1.0)(torch.zeros(1)))
            if sharpness > 0 and torch.allclose(Surrogate(kind, sharpness)(x.clone()), slopes, rtol=1e-3, atol=1e-5):
                return kind, round(sharpness, 6)
    notes.append("its surrogate is none of ours; arctan of sharpness 2 trains and attacks the adopted neurons")
    return "arctan", 2.0


def _slopes(spike: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    try:
        return derivative_of(spike)(x).detach()
    except (RuntimeError, TypeError, ValueError):
        return torch.zeros_like(x)  # which is no surrogate's


def shaped(value: Any) -> Tensor:
    """Return a constant as a tensor without the axis of a batch."""
    found = torch.as_tensor(value).detach().clone()
    return found.reshape(()) if found.numel() == 1 else found


def _fixed(module: nn.Module, names: tuple[str, ...], notes: list[str]) -> None:
    learned = [name for name in names if isinstance(getattr(module, name, None), nn.Parameter)]
    if learned:
        notes.append(f"{', '.join(learned)}: learned there, constants here")


def _snntorch(module: Any) -> Found:
    found = Found(Population({}))
    name = type(module).__name__
    if module.inhibition:
        raise UnsupportedError("inhibition=True: one neuron silences the others within a step")
    if module.state_quant:
        raise UnsupportedError("state_quant: a rounding of the membrane of its own; adopt the network without it")
    if float(torch.as_tensor(module.graded_spikes_factor).max()) != 1:
        raise UnsupportedError("graded_spikes_factor other than 1; multiply the weights that follow instead")
    delayed, mechanism = bool(module.reset_delay), module.reset_mechanism
    resets: dict[str, Reset] = {
        "subtract": "subtract_later" if delayed else "subtract",
        # A Leaky forgets its membrane and takes the input of the next step; the others lose that, too.
        "zero": "zero_later" if delayed and name != "Leaky" else "zero",
        "none": "none",
    }
    values: dict[str, Any] = {
        "keep": shaped(module.beta).clamp(0, 1),
        "threshold": shaped(module.threshold),
    }
    if "Synaptic" in name:
        values["current"] = shaped(module.alpha).clamp(0, 1)
    _fixed(module, ("beta", "threshold", "alpha"), found.notes)
    kind, alpha = surrogate_of(module.spike_grad, found.notes)
    found.layer = Population(values, reset=resets[mechanism], surrogate=kind, alpha=alpha)
    if name.startswith("R"):
        found.loop = _loop(module)
    return found


def _loop(module: Any) -> nn.Module:
    recurrent = module.recurrent
    if isinstance(recurrent, nn.Linear | nn.Conv2d):
        return recurrent
    scale = shaped(recurrent.V)
    if scale.dim() > 1:
        raise UnsupportedError("V with more than one axis: one number, or one a neuron")
    if scale.dim() == 0:
        raise UnsupportedError(
            "all_to_all=False with one V for all: give V as one number a neuron, torch.full((n,), V)"
        )
    layer = nn.Linear(len(scale), len(scale), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(scale))
    return layer


def _lapicque(module: Any) -> Found:
    raise UnsupportedError("Lapicque: its neurons are LIF with other names; use snn.Leaky with the same beta")


def _spikingjelly(module: Any) -> Found:
    found = Found(Population({}), axis=0 if module.step_mode == "m" else None)
    values: dict[str, Any] = {"threshold": shaped(module.v_threshold)}
    reset = 0.0 if module.v_reset is None else float(module.v_reset)
    if hasattr(module, "tau") or hasattr(module, "w"):
        share = torch.sigmoid(module.w.detach()) if hasattr(module, "w") else torch.tensor(1.0 / module.tau)
        values |= {"keep": shaped(1 - share), "rest": shaped(share * reset)}
        if module.decay_input:
            values["gain"] = shaped(share)
        _fixed(module, ("w",), found.notes)
    values |= {"reset_to": reset, "start": reset}
    kind, alpha = surrogate_of(module.surrogate_function, found.notes)
    found.layer = Population(
        values,
        reset="subtract" if module.v_reset is None else "zero",
        at_threshold=True,
        surrogate=kind,
        alpha=alpha,
    )
    return found


def _norse(module: Any) -> Found:
    name = type(module).__name__
    p, dt = module.p, module.dt
    found = Found(Population({}), axis=None if name.endswith("Cell") else 0)
    if name in ("LICell", "LI"):
        share = shaped(dt * p.tau_mem_inv)
        current = shaped(1 - dt * p.tau_syn_inv)
        leak = shaped(p.v_leak)
        found.layer = LeakyIntegrator(
            {"keep": 1 - share, "gain": share, "rest": share * leak, "current": current, "start": leak}
        )
        return found
    values: dict[str, Any] = {"threshold": shaped(p.v_th), "reset_to": shaped(p.v_reset)}
    method = getattr(getattr(p, "reset_method", None), "__name__", "reset_value")
    if method != "reset_value":
        raise UnsupportedError(f"reset_method {method}; only norse's reset_value is known here")
    if name != "IAFCell":
        share = shaped(dt * p.tau_mem_inv)
        values |= {"keep": 1 - share, "gain": share, "rest": share * shaped(p.v_leak), "start": shaped(p.v_leak)}
        if name != "LIFBoxCell":
            values["current"] = shaped(1 - dt * p.tau_syn_inv)
    found.notes.append("its surrogate is norse's; arctan of sharpness 2 trains and attacks the adopted neurons")
    found.layer = Population(values)
    return found


def _sinabs(module: Any) -> Found:
    name = type(module).__name__
    found = Found(Population({}), axis="fold" if name.endswith("Squeeze") else 1)
    if module.min_v_mem is not None:
        raise UnsupportedError("min_v_mem: a membrane that is cut off below; make the layer without it")
    keep = torch.tensor(1.0) if name.startswith("IAF") else shaped(module.alpha_mem_calculated)
    values: dict[str, Any] = {"keep": keep}
    if module.norm_input and not name.startswith("IAF"):
        values["gain"] = 1 - keep
    synapse = module.alpha_syn_calculated
    if synapse is not None:
        values |= {"current": shaped(synapse), "current_gain": shaped(synapse)}
    _fixed(module, ("tau_mem", "tau_syn", "alpha_mem", "alpha_syn"), found.notes)
    if module.spike_fn is None:
        found.layer = LeakyIntegrator(values)
        return found
    values["threshold"] = shaped(module.spike_threshold)
    resets: dict[str, Reset] = {"MembraneSubtract": "subtract", "MembraneReset": "zero"}
    how = type(module.reset_fn).__name__
    if how not in resets:
        raise UnsupportedError(f"reset {how} is none of {', '.join(resets)}")
    if getattr(module.reset_fn, "subtract_value", None) is not None:
        raise UnsupportedError("MembraneSubtract with a value of its own; the threshold is what is subtracted here")
    spikes = module.spike_fn if isinstance(module.spike_fn, type) else type(module.spike_fn)
    counts = {"MultiSpike": True, "SingleSpike": False}
    if spikes.__name__ not in counts:
        raise UnsupportedError(f"spike function {spikes.__name__} is none of {', '.join(counts)}")
    found.notes.append("its surrogate is sinabs'; arctan of sharpness 2 trains and attacks the adopted neurons")
    found.layer = Population(values, reset=resets[how], at_threshold=True, several=counts[spikes.__name__])
    return found


def own(module: nn.Module) -> bool:
    """Return whether a module is one of this package's neurons, which is adopted as it is."""
    return isinstance(module, Neuron)
