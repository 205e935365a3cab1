"""Layers that keep state and scan over time: spiking neurons and delays."""

from collections import deque
from typing import Any, cast

import snntorch
import torch
from torch import Tensor, nn

from ..errors import InputError, UnsupportedError
from ..kernels.pool import halves
from ..kernels.scan import Derivative, compiled, scan, scan_pooled
from .layers import Dynamics, Membrane, Scanned, Step
from .surrogates import Kind, Spike, Surrogate, derivative_of


class Neuron(Membrane):
    """Spiking neurons with a hard reset that the backward pass does not go through.

    One whose ``spike_grad`` is the function from v - threshold to spikes is attacked with other surrogates, too.
    """

    sends_spikes = True


class LIF(Neuron):
    """Leaky integrate-and-fire neurons with hard reset: snnTorch's ``Leaky``, all steps in one :mod:`..kernels.scan`.

    v(t) = beta v(t-1) (1 - s(t-1)) + I(t),  s(t) = 1 if v(t) > threshold else 0.  Without a leak (IF) beta is 1. The
    backward pass takes a surrogate of x = v - threshold for ds/dv, by default the arctan's
    (alpha/2) / (1 + (pi alpha x / 2)^2), and does not go through the reset.

    Args:
        beta: membrane factor a time step.
        threshold: firing threshold; the comparison is strict.
        alpha: sharpness of the surrogate.
        surrogate: its shape, see :class:`.surrogates.Surrogate`.
    """

    def __init__(self, beta: float, threshold: float, alpha: float, surrogate: Kind = "arctan") -> None:
        super().__init__()
        self.alpha = alpha
        # It looks at its own constants, which fails where a network is built on torch's meta device.
        with torch.device("cpu"):
            self.neuron = snntorch.Leaky(
                beta=beta, threshold=threshold, spike_grad=Spike(Surrogate(surrogate, alpha)), reset_mechanism="zero"
            )

    @property
    def beta(self) -> float:
        """Membrane factor a time step."""
        return float(self.neuron.beta)

    @property
    def threshold(self) -> float:
        """Firing threshold."""
        return float(self.neuron.threshold)

    def unlike(self) -> str | None:
        """Return why these are not LIF neurons at inference, None if they are; for classes that derive from it."""
        return None

    def dynamics(self) -> Dynamics:
        """Return beta and threshold."""
        reason = self.unlike()
        if reason is not None:
            raise UnsupportedError(reason)
        if self.neuron.reset_mechanism != "zero":
            raise UnsupportedError(
                f"reset {self.neuron.reset_mechanism!r} does not exist on Loihi's LIF, and NIR would silently "
                "turn it into a hard reset; train with reset to zero"
            )
        if self.neuron.beta.numel() != 1 or self.neuron.threshold.numel() != 1:
            raise UnsupportedError("beta and threshold must be one number a layer, as on Loihi")
        return Dynamics(self.beta, self.threshold)

    def stepper(self) -> Step:
        """Return a function of the current (batch, ...) of one step; its state starts at 0."""
        membrane: Tensor | None = None

        def step(current: Tensor) -> Tensor:
            nonlocal membrane
            spike, membrane = self.neuron(current, torch.zeros_like(current) if membrane is None else membrane)
            # snnTorch keeps the last membrane, and with it the whole graph; nothing may outlive the call.
            self.neuron.mem = current.new_zeros(0)
            self.neuron.reset = None
            return cast(Tensor, spike)

        return step

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes (time, batch, ...) for input current (time, batch, ...); state starts at 0."""
        if self.neuron.reset_mechanism != "zero" or self.neuron.beta.numel() > 1:
            # Somebody changed the neuron: snnTorch knows how it runs.
            return super().forward(x)
        return scan(x, *self.settings)

    def pooled(self, x: Tensor, pool: nn.MaxPool2d) -> Tensor | None:
        """Return ``pool`` of the spikes for input current (time, batch, channels, height, width), computed in one pass.

        None where there is no such pass: for other pools, changed neurons, without a compiled loop.
        """
        return None if self.loops(x, pool) is None else scan_pooled(x, *self.settings)

    @property
    def settings(self) -> tuple[float, float, Derivative]:
        """Membrane factor, threshold, and what stands for ds/dv."""
        return self.beta, self.threshold, derivative_of(self.neuron.spike_grad)

    def loops(self, x: Tensor, pool: nn.MaxPool2d) -> Any:
        """Return the compiled loops if they have these neurons and ``pool`` in one pass, else None."""
        own = type(self).forward in (LIF.forward, PLIF.forward) and self.neuron.reset_mechanism == "zero"
        if not own or self.neuron.beta.numel() > 1 or self._learns() or x.dim() != 5 or not halves(pool, x):
            return None
        return compiled(x, derivative_of(self.neuron.spike_grad))

    def _learns(self) -> bool:
        """Return whether the leak wants a gradient."""
        return False


class IF(LIF):
    """Integrate-and-fire neurons: :class:`LIF` without a leak, beta = 1.

    Args:
        threshold: see :class:`LIF`.
        alpha: see :class:`LIF`.
        surrogate: see :class:`LIF`.
    """

    def __init__(self, threshold: float, alpha: float, surrogate: Kind = "arctan") -> None:
        super().__init__(1.0, threshold, alpha, surrogate)


class PLIF(LIF):
    """LIF that learns its leak: beta = sigmoid(w), one w a layer (Fang et al., arXiv 2007.05785, written for beta).

    Args:
        beta: membrane factor a time step before training, between 0 and 1.
        threshold: see :class:`LIF`.
        alpha: see :class:`LIF`.
        surrogate: see :class:`LIF`.

    Raises:
        InputError: ``beta`` is not between 0 and 1.
    """

    def __init__(self, beta: float, threshold: float, alpha: float, surrogate: Kind = "arctan") -> None:
        if not 0 < beta < 1:
            raise InputError(f"PLIF: beta {beta} is no sigmoid of a finite number; start between 0 and 1")
        super().__init__(beta, threshold, alpha, surrogate)
        self.leak = nn.Parameter(torch.logit(torch.tensor(beta)))

    @property
    def beta(self) -> float:
        """Membrane factor a time step."""
        return float(torch.sigmoid(self.leak.detach()))

    def stepper(self) -> Step:
        """Return a function of the current (batch, ...) of one step; its state starts at 0."""
        beta, inner = torch.sigmoid(self.leak), super().stepper()

        def step(current: Tensor) -> Tensor:
            self.neuron.beta = beta
            spikes = inner(current)
            # A buffer with a history could not be copied.
            self.neuron.beta = beta.detach()
            return spikes

        return step

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes (time, batch, ...) for input current (time, batch, ...), with a gradient for the leak."""
        return Scanned.forward(self, x) if self._learns() else super().forward(x)

    def _learns(self) -> bool:
        return torch.is_grad_enabled() and self.leak.requires_grad


class CUBA(Neuron):
    """Current-based LIF as Loihi's: a synaptic current with memory, and a bias that enters the voltage.

    u(t) = gamma u(t-1) + I(t),  v(t) = beta v(t-1) (1 - s(t-1)) + u(t) + bias,  s(t) = 1 if v(t) > threshold else 0.
    A spike resets the voltage, not the current. Without a bias this is snnTorch's ``Synaptic``, apart from its reset.

    Args:
        current: gamma, the share of the current that a step keeps, below 1.
        beta: membrane factor a time step.
        threshold: firing threshold; the comparison is strict.
        alpha: sharpness of the surrogate.
        surrogate: its shape.
        bias: added to the voltage in each step, (channels,) or (neurons,), or None.

    Raises:
        InputError: ``current`` is 1 or more, or negative.
    """

    def __init__(
        self,
        current: float,
        beta: float,
        threshold: float,
        alpha: float,
        surrogate: Kind = "arctan",
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= current < 1:
            raise InputError(f"CUBA: a current that keeps {current} of itself a step; expected 0 to below 1")
        self.gamma, self.beta, self.threshold, self.alpha = current, beta, threshold, alpha
        self.spike_grad = Spike(Surrogate(surrogate, alpha))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def dynamics(self) -> Dynamics:
        """Return beta, threshold, gamma and bias."""
        return Dynamics(self.beta, self.threshold, self.gamma, self.bias)

    def take_bias(self, bias: Tensor) -> bool:
        """Make a bias b of the current one of b / (1 - gamma) of the voltage: the same once the current has settled."""
        bias = bias.flatten() / (1 - self.gamma)
        self.bias = nn.Parameter(bias if self.bias is None else self.bias.detach() + bias)
        return True

    def stepper(self) -> Step:
        """Return a function of the input (batch, ...) of one step; current and voltage start at 0."""
        u: Tensor | None = None
        v: Tensor | None = None

        def step(x: Tensor) -> Tensor:
            nonlocal u, v
            u = x if u is None else self.gamma * u + x
            v = u if v is None else self.beta * v + u
            if self.bias is not None:
                v = v + self.bias.view(-1, *[1] * (x.dim() - 2))
            spikes = self.spike_grad(v - self.threshold)
            v = v * (1 - spikes.detach())
            return spikes

        return step


class Integrator(Membrane):
    """Neurons that neither leak nor fire, to be read: v(t) = v(t-1) + I(t)."""

    def dynamics(self) -> Dynamics:
        """Return a membrane that keeps all and never fires."""
        return Dynamics(1.0, None)

    def stepper(self) -> Step:
        """Return a function of the current (batch, ...) of one step that gives the membrane."""
        v: Tensor | None = None

        def step(current: Tensor) -> Tensor:
            nonlocal v
            v = current if v is None else v + current
            return v

        return step

    def forward(self, x: Tensor) -> Tensor:
        """Return the membrane (time, batch, ...) for input current (time, batch, ...)."""
        return x.cumsum(0)


class LI(Integrator):
    """Neurons that leak and do not fire, to be read at every step: v(t) = keep v(t-1) + I(t).

    Args:
        keep: membrane factor a time step, at most 1.

    Raises:
        InputError: ``keep`` is negative or above 1.
    """

    def __init__(self, keep: float) -> None:
        super().__init__()
        if not 0 <= keep <= 1:
            raise InputError(f"LI: a membrane that keeps {keep} of itself a step; expected 0 to 1")
        self.keep = keep

    def dynamics(self) -> Dynamics:
        """Return a membrane that leaks and never fires."""
        return Dynamics(self.keep, None)

    def stepper(self) -> Step:
        """Return a function of the current (batch, ...) of one step that gives the membrane."""
        v: Tensor | None = None

        def step(current: Tensor) -> Tensor:
            nonlocal v
            v = current if v is None else self.keep * v + current
            return v

        return step

    def forward(self, x: Tensor) -> Tensor:
        """Return the membrane (time, batch, ...): one product with the triangle of keep^(t - s)."""
        late = torch.arange(len(x), device=x.device)
        ages = late[:, None] - late
        shares = (float(self.keep) ** ages.clamp(min=0).to(x.dtype)).masked_fill(ages < 0, 0.0)
        return (shares @ x.flatten(1)).view_as(x)


class Delay(Scanned):
    """An axonal delay: x(t) -> x(t - steps), 0 before.

    Args:
        steps: 1 or more.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise InputError(f"delay of {steps} steps: must be 1 or more")
        self.steps = steps

    def stepper(self) -> Step:
        """Return a function of the signal (batch, ...) of one step; nothing is under way when it starts."""
        past: deque[Tensor] = deque()

        def step(x: Tensor) -> Tensor:
            past.append(x)
            return past.popleft() if len(past) > self.steps else torch.zeros_like(x)

        return step

    def forward(self, x: Tensor) -> Tensor:
        """Return the delayed signal, (time, batch, ...) as the given one."""
        kept = max(len(x) - self.steps, 0)
        return torch.cat([torch.zeros_like(x[: len(x) - kept]), x[:kept]])
