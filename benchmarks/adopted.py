"""What adoption, adapting and the chip cost a user's own networks: python benchmarks/adopted.py soft|strong.

``soft``: networks of snnTorch's tutorials, reset by subtraction, on digits, 500 test images, three seeds: accuracy as
the framework runs them, adapted, fine-tuned on the grid for 10 epochs, and as Programs. ``strong``: a SpikingJelly
network under the strong protocol, as a foreign module and adopted, 100 test images at 8/255, three seeds. Writes
benchmarks/adopted-*.json under --out (runs/benchmarks).
"""

import sys
from typing import Any

import given_out
import numpy as np
import snntorch
import torch
from numpy.typing import NDArray
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

import spikeproof as sp
from spikeproof.eval.records.base import header, share, write_record
from spikeproof.eval.records.benchmark import Benchmark

SEEDS = (3407, 3408, 3409)
STEPS = 10
OUT = given_out.USUAL / "benchmarks"


class Tutorial(nn.Module):
    """A network of snnTorch's tutorials: linear layers, or convolutions with max pools before the neurons.

    Args:
        planes: whether it has convolutions.
    """

    def __init__(self, planes: bool) -> None:
        super().__init__()
        self.planes = planes
        first: list[nn.Module] = [nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 32, 3, padding=1)]
        self.weights = nn.ModuleList([*(first if planes else [nn.Linear(64, 128)]), nn.Linear(128, 10)])
        self.cells = nn.ModuleList(snntorch.Leaky(beta=0.5 if planes else 0.95) for _ in self.weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return spike counts (batch, classes)."""
        states: list[Any] = [cell.reset_mem() for cell in self.cells]  # type: ignore[operator]
        told = []
        for _ in range(STEPS):
            now = x if self.planes else x.flatten(1)
            for place, (weights, cell) in enumerate(zip(self.weights, self.cells, strict=True)):
                if isinstance(weights, nn.Conv2d):
                    now = nn.functional.max_pool2d(weights(now), 2)
                else:
                    now = weights(now.flatten(1))
                now, states[place] = cell(now, states[place])
            told.append(now)
        return torch.stack(told).sum(0)


def jelly() -> nn.Module:
    """Return a multi-step SpikingJelly network: convolution, batch norm, LIF, max pool, linear, LIF."""
    net = nn.Sequential(
        layer.Conv2d(1, 16, 3, padding=1, bias=False),
        layer.BatchNorm2d(16),
        neuron.LIFNode(surrogate_function=surrogate.ATan()),
        layer.MaxPool2d(2, 2),
        layer.Flatten(),
        layer.Linear(256, 10),
        neuron.LIFNode(surrogate_function=surrogate.ATan()),
    )
    functional.set_step_mode(net, "m")
    return net


class Counts(nn.Module):
    """A multi-step network that gets the image at every step, and is read by its spike counts."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return spike counts (batch, classes)."""
        found: torch.Tensor = self.net(x.unsqueeze(0).repeat(4, 1, 1, 1, 1)).sum(0)
        return found


def trained(model: nn.Module, data: sp.Dataset, epochs: int, rate: float, seed: int) -> nn.Module:
    """Train a module as its owner would: Adam on the cross-entropy of its counts."""
    x, y = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    torch.manual_seed(seed)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()
            functional.reset_net(model)
    return model.eval()


def right(model: nn.Module, data: sp.Dataset) -> NDArray[np.bool_]:
    """Return which test images a module classifies rightly, run by its framework alone."""
    with torch.no_grad():
        classes: NDArray[np.int64] = model(torch.from_numpy(data.test_images)).argmax(1).numpy()
    functional.reset_net(model)
    found: NDArray[np.bool_] = classes == data.test_labels
    return found


def soft(data: sp.Dataset) -> list[dict[str, Any]]:
    """Measure both tutorial networks, three seeds."""
    rows = []
    for name, planes in (("linear layers, beta 0.95", False), ("convolutions, max pools, beta 0.5", True)):
        for seed in SEEDS:
            torch.manual_seed(seed)
            model = trained(Tutorial(planes), data, 15, 5e-3, seed)
            adapted = sp.adapt(sp.adopt(model, data.test_images[:20]).network, data)
            tuned = sp.quantize(adapted.network, data, epochs=10, rate=2e-3, batch=64, seed=seed)
            program = sp.lower(tuned, data.shape)
            classes = sp.run(program, data.test_images, coder=tuned).classes
            forms = {
                "framework": right(model, data),
                "adapted": right(adapted.network, data),
                "fine-tuned": right(tuned, data),
                "Program": classes == data.test_labels,
            }
            rows.append({"network": name, "seed": seed, **{form: share(ok).model_dump() for form, ok in forms.items()}})
            print(name, seed, {form: round(100 * float(ok.mean()), 1) for form, ok in forms.items()}, flush=True)
    return rows


def strong(data: sp.Dataset) -> list[dict[str, Any]]:
    """Attack a SpikingJelly network as it is, and adopted."""
    rows = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = trained(Counts(jelly()), data, 8, 5e-3, seed)
        adopted = sp.adopt(model, data.test_images[:20]).network
        row: dict[str, Any] = {"seed": seed}
        for name, subject in (("module", model), ("adopted", adopted)):
            found: Any = sp.robustness(subject, data, "strong", samples=100, epsilon=8 / 255)
            row[name] = {
                "clean": found.clean.model_dump(),
                "worst": found.worst.model_dump(),
                "alarms": sorted({alarm.code for alarm in found.alarms if alarm.severity == "alarm"}),
            }
        rows.append(row)
        print(row, flush=True)
    return rows


def main(what: str) -> None:
    data = sp.load_data("digits", test_samples=500)
    rows = {"soft": soft, "strong": strong}[what](data)
    about = header(f"adopted-{what}", f"python benchmarks/adopted.py {what}", data=data)
    OUT.mkdir(parents=True, exist_ok=True)
    write_record(OUT / f"adopted-{what}.json", Benchmark.model_validate({**about, "rows": rows}))


if __name__ == "__main__":
    OUT = given_out.out("benchmarks")
    if sys.argv[1:] not in (["soft"], ["strong"]):
        sys.exit(__doc__)
    main(sys.argv[1])
