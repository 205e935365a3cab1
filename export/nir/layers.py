"""The NIR nodes that a layer becomes, by its class; for neurons by what they say they compute."""

from dataclasses import dataclass
from functools import singledispatch
from typing import Annotated, Any

import nir
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ...toolkit.errors import UnsupportedError
from ...toolkit.network.layers import Dynamics, Membrane
from ...toolkit.network.neurons import Delay
from ...toolkit.network.signals import Delays, Scale, Threshold

TIME_STEP = 1e-4
"""Seconds a step in exported graphs: snnTorch's own choice; the number cancels out as long as the side-car keeps it."""


class Grid(BaseModel):
    """A weight's grid: integer multiples of ``step``, ``bits`` wide."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    bits: Annotated[int, Field(ge=2, le=8)]
    step: Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass
class Site:
    """Where a layer stands.

    Attributes:
        before: shape of a sample that it receives.
        after: shape that it sends.
        spiking: whether it receives the spikes of one layer.
        grid: of its weights; set by whoever makes its nodes.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    spiking: bool
    grid: Grid | None = None


@singledispatch
def nodes(layer: nn.Module, site: Site) -> list[nir.NIRNode]:
    """Return the node that a layer becomes, or two in a row; for a class that is not here, register one beside it.

    Args:
        layer: from :func:`.quantize.quantized_network`.
        site: where it stands.

    Raises:
        UnsupportedError: it has no exact form; the reason, without the layer's name.
    """
    raise UnsupportedError(f"{type(layer).__name__} has no exact form in NIR; remove or replace it")


def _pair(value: int | tuple[int, ...]) -> NDArray[np.int64]:
    return np.array([value, value] if isinstance(value, int) else value)


@nodes.register
def _(layer: Membrane, site: Site) -> list[nir.NIRNode]:
    return [_neurons(layer.dynamics(), site.before)]


def _full(value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return one number, one a channel or one a neuron for every neuron."""
    numbers = value.detach().double().numpy() if isinstance(value, Tensor) else np.array(float(value))
    if numbers.ndim == 1 and numbers.size > 1:
        numbers = numbers.reshape(shape if numbers.size == np.prod(shape) else (-1, *[1] * (len(shape) - 1)))
    return np.broadcast_to(numbers, shape).copy()


def _neurons(how: Dynamics, shape: tuple[int, ...]) -> nir.NIRNode:
    keep = _full(how.keep, shape)
    if how.threshold is None:
        if how.current is not None or how.bias is not None or keep.min() < keep.max():
            raise UnsupportedError(
                "what is read by its membrane must be a plain integrator on the chip, or one that leaks"
            )
        if keep.min() < 1:
            tau = TIME_STEP / (1 - keep)
            return nir.LI(tau=tau, r=tau / TIME_STEP, v_leak=np.zeros(shape))
        return nir.I(r=np.full(shape, 1 / TIME_STEP))
    threshold, zero = _full(how.threshold, shape), np.zeros(shape)
    if how.current is not None or how.bias is not None:
        return _with_current(how, keep, 0.0 if how.current is None else how.current, shape)
    if keep.min() >= 1:
        # v <- v + dt R I: no leak, no time constant.
        return nir.IF(r=np.full(shape, 1 / TIME_STEP), v_threshold=threshold, v_reset=zero)
    if keep.max() >= 1:
        raise UnsupportedError("neurons of one layer leak and do not leak; NIR has no node for both")
    # v <- v + (dt / tau) (R I - v) equals v <- keep v + I for tau = dt / (1 - keep) and R = tau / dt.
    tau = TIME_STEP / (1 - keep)
    return nir.LIF(tau=tau, r=tau / TIME_STEP, v_leak=zero, v_threshold=threshold, v_reset=zero)


def _with_current(how: Dynamics, keep: NDArray[np.float64], current: Any, shape: tuple[int, ...]) -> nir.NIRNode:
    if keep.max() >= 1:
        raise UnsupportedError("NIR has no CubaLIF whose membrane does not leak; use beta below 1")
    rest = np.zeros(shape) if how.bias is None else _full(how.bias, shape)
    tau_syn, tau_mem = TIME_STEP / (1 - _full(current, shape)), TIME_STEP / (1 - keep)
    # i <- i + dt / tau_syn (w_in I - i),  v <- v + dt / tau_mem (v_leak + R i - v)
    return nir.CubaLIF(
        tau_syn=tau_syn,
        tau_mem=tau_mem,
        r=tau_mem / TIME_STEP,
        v_leak=rest * tau_mem / TIME_STEP,
        v_threshold=_full(how.threshold, shape),
        v_reset=np.zeros(shape),
        w_in=tau_syn / TIME_STEP,
    )


@nodes.register
def _(layer: Delay, site: Site) -> list[nir.NIRNode]:
    return [nir.Delay(np.full(site.before, layer.steps * TIME_STEP))]


@nodes.register
def _(layer: Delays, site: Site) -> list[nir.NIRNode]:
    return [nir.Delay(_full(layer.steps, site.before) * TIME_STEP)]


@nodes.register
def _(layer: Scale, site: Site) -> list[nir.NIRNode]:
    return [nir.Scale(_full(layer.scale, site.before))]


@nodes.register
def _(layer: Threshold, site: Site) -> list[nir.NIRNode]:
    return [nir.Threshold(_full(layer.threshold, site.before))]


def _weights(layer: Any, site: Site) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return weights and bias of one of Brevitas' layers; the grid of the weights is noted."""
    if not hasattr(layer, "quant_weight"):
        raise UnsupportedError(f"{type(layer).__name__} has no exact form in NIR; remove or replace it")
    quantized = layer.quant_weight()
    site.grid = Grid(bits=int(quantized.bit_width), step=float(quantized.scale))
    return quantized.value.detach().numpy(), None if layer.bias is None else layer.bias.detach().numpy()


@nodes.register
def _(layer: nn.Linear, site: Site) -> list[nir.NIRNode]:
    weight, bias = _weights(layer, site)
    return [nir.Linear(weight=weight) if bias is None else nir.Affine(weight=weight, bias=bias)]


@nodes.register
def _(layer: nn.Conv2d, site: Site) -> list[nir.NIRNode]:
    weight, bias = _weights(layer, site)
    return [
        nir.Conv2d(
            input_shape=site.before[1:],
            weight=weight,
            stride=_pair(layer.stride),
            padding=_pair(layer.padding),  # type: ignore[arg-type]  # numbers: see _quantized_layer
            dilation=_pair(layer.dilation),
            groups=layer.groups,
            # The format demands a bias here; zeros are none.
            bias=np.zeros(len(weight), dtype=np.float32) if bias is None else bias,
        )
    ]


@nodes.register
def _(layer: nn.MaxPool2d, site: Site) -> list[nir.NIRNode]:
    if not site.spiking:
        raise UnsupportedError("max pooling is an OR of spikes; put it right after a LIF layer, as 'adapt' does")
    if layer.ceil_mode or _pair(layer.dilation).max() > 1:
        raise UnsupportedError("max pooling with ceil_mode or dilation has no exact NIR form")
    pool = nir.SumPool2d(_pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding))
    return [pool, nir.Threshold(np.full(site.after, 0.5))]


@nodes.register
def _(layer: nn.AvgPool2d, site: Site) -> list[nir.NIRNode]:
    counted = layer.count_include_pad or not _pair(layer.padding).any()
    sums = layer.divisor_override == 1
    if layer.ceil_mode or not (counted or sums) or not (sums or layer.divisor_override is None):
        raise UnsupportedError(
            "average pooling with ceil_mode, another divisor or one that leaves out the padding has no NIR form"
        )
    kind = nir.SumPool2d if sums else nir.AvgPool2d
    return [kind(_pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding))]


@nodes.register
def _(layer: nn.Flatten, site: Site) -> list[nir.NIRNode]:
    return [nir.Flatten({"input": np.array(site.before)}, start_dim=0, end_dim=-1)]
