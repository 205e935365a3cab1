"""One float network on two chips, snnTorch's default reset on Xylo, and Xylo's law: python benchmarks/two_chips.py.

Writes xylo/one-network.json, default-reset.json, law.json and heartbeats.json under --out (runs/benchmarks), or those
of them that are named. Digits are averaged over 2x2 pixels, to Xylo's 16 input channels. QTDB is looked for under
SPIKEPROOF_DATA. Needs xylosim: spikeproof lava install --xylosim.
"""

import sys
from dataclasses import asdict
from typing import Any

import given_out
import numpy as np
import snntorch
import torch
from torch import nn

import spikeproof as sp
from spikeproof.eval.measure.forms import Forms
from spikeproof.eval.records.base import header, write_record
from spikeproof.eval.records.benchmark import Benchmark
from spikeproof.hw_targets.family import family_of, simulator
from spikeproof.hw_targets.target import get_target
from spikeproof.hw_targets.xylo.law import compare, random_core, random_input
from spikeproof.toolkit.data import Dataset

OUT = given_out.USUAL / "xylo"
SEEDS = (3407, 3408, 3409)
CHIPS = ("loihi2", "xylo_imu")
EPSILON = 1 / 15
"""One level of Xylo's input, seventeen of Loihi's."""
STEPS, EPOCHS, RATE = 25, 30, 5e-3
"""Of the snnTorch network: time steps of its tutorial 5, epochs and rate of its training."""
ATTACKED, ASKED = 200, 100
"""Test images that are attacked (of the first seed's network), and that xylosim gets."""


FLOAT, TUNED, HEARTBEATS = 40, 20, 4
"""Epochs of the float network, of fine-tuning on each chip, and on QTDB."""


def pooled() -> Dataset:
    """Return the digits with 4 x 4 pixels."""
    data = sp.load_data("digits")
    halves = [part.reshape(len(part), 1, 4, 2, 4, 2).mean((3, 5)) for part in (data.train_images, data.test_images)]
    train, test = (part.astype(np.float32) for part in halves)
    return sp.load_data("digits of 4x4 pixels", arrays=(train, data.train_labels, test, data.test_labels))


def accuracy(classes: Any, data: Dataset) -> float:
    """Return the share of test images that are classified right."""
    return float((classes == data.test_labels).mean())


def on(forms: Forms, data: Dataset, name: str | None = None, samples: int | None = None) -> Any:
    """Return what the Program does with the first test images."""
    target = simulator(forms.program) if name is None else get_target(name)
    return target.compile(forms.program).run(forms.coder.integers(data.test_images[:samples]), rasters=True)


def different(forms: Forms, data: Dataset) -> dict[str, int]:
    """Return how many values of spikes, currents and membranes xylosim has otherwise."""
    ours, theirs = on(forms, data, samples=ASKED), on(forms, data, "xylosim", ASKED)
    pairs = [
        (getattr(raster, what), getattr(theirs.rasters[name], what))
        for name, raster in ours.rasters.items()
        for what in ("spikes", "u", "v")
    ]
    return {
        "compared": sum(one.size for one, _ in pairs),
        "different": sum(int((one != other).sum()) for one, other in pairs),
    }


def two_chips(data: Dataset, seed: int) -> dict[str, Any]:
    """Train a float network once, fine-tune it for each chip, attack every form."""
    network = sp.build_network(data, steps=10, kind="mlp", hidden=[64], beta=0.9, seed=seed)
    sp.train(network, data, epochs=FLOAT, seed=seed)
    with torch.no_grad():
        real = accuracy(network(torch.from_numpy(data.test_images)).argmax(1).numpy(), data)
    found: dict[str, Any] = {"seed": seed, "float": real, "chips": {}}
    for chip in CHIPS:
        family = family_of(chip)
        rounded = sp.deploy(network, data, chip=chip, epochs=0)
        forms = sp.deploy(network, data, chip=chip, epochs=TUNED, rate=2e-3, seed=seed)
        trace = on(forms, data)
        told: dict[str, Any] = {
            "changes": family.changes(network),
            "rounded": accuracy(on(rounded, data).classes, data),
            "tuned": accuracy(trace.classes, data),
            "spikes": sum(float(counts.sum()) for counts in trace.spike_counts.values()) / len(data.test_labels),
            "clipped": sum(event.saturations for event in trace.overflow.values()),
            "fit": sp.fit(forms.program, chip=chip).record.verdict,
        }
        if seed == SEEDS[0]:
            protocol = sp.robustness(forms, data, "standard", epsilon=EPSILON, samples=ATTACKED)
            told["robustness"] = {
                form.form: {
                    "clean": form.clean.model_dump(),
                    "worst": form.worst.model_dump(),
                    "alarms": [alarm.model_dump() for alarm in form.alarms],
                }
                for form in protocol.record.forms
            }
        if family.name == "loihi":
            costs = sp.compare(forms, data, samples=ATTACKED).record
            told["energy"] = {one.chip: one.model_dump() for one in costs.chips}
        else:
            told["xylosim"] = different(forms, data)
        found["chips"][chip] = told
    return found


class Tutorial(nn.Module):
    """Two layers of snnTorch's Leaky, beta 0.95, reset as it is by default: by subtraction."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(16, 128), snntorch.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(128, 10), snntorch.Leaky(beta=0.95)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the spikes of the read-out, (time, batch, 10)."""
        first, second, sent = self.lif1.init_leaky(), self.lif2.init_leaky(), []
        for _ in range(STEPS):
            spikes, first = self.lif1(self.fc1(x.flatten(1)), first)
            spikes, second = self.lif2(self.fc2(spikes), second)
            sent.append(spikes)
        return torch.stack(sent)


def subtracting(data: Dataset, seed: int) -> dict[str, Any]:
    """Train a network in snnTorch, adopt it, and bring it to Xylo with its own reset."""
    torch.manual_seed(seed)
    model = Tutorial()
    x, y = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(x)).split(128):
            loss = nn.functional.cross_entropy(model(x[part]).sum(0), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        real = accuracy(model(torch.from_numpy(data.test_images)).sum(0).argmax(1).numpy(), data)
    adopted = sp.adopt(model, torch.from_numpy(data.test_images[:20]), steps=STEPS)
    rounded = sp.deploy(adopted.network, data, chip="xylo_imu", epochs=0)
    forms = sp.deploy(adopted.network, data, chip="xylo_imu", epochs=EPOCHS, rate=RATE, seed=seed)
    return {
        "seed": seed,
        "float": real,
        "changes": family_of("xylo_imu").changes(adopted.network),
        "rounded": accuracy(on(rounded, data).classes, data),
        "tuned": accuracy(on(forms, data).classes, data),
        "xylosim": different(forms, data),
        "fit": sp.fit(forms.program, chip="xylo_imu").record.verdict,
    }


def heartbeats() -> dict[str, Any]:
    """Train a recurrent network on windows of QTDB, and run test windows on both simulators."""
    data = sp.load_data("qtdb", steps=40, train_samples=2000, test_samples=300)
    network = sp.build_network(data, coder="events", steps=40, kind="recurrent", channels=[6], beta=0.9, seed=1)
    sp.train(network, data, epochs=HEARTBEATS, seed=1)
    forms = sp.deploy(network, data, chip="xylo_imu", epochs=HEARTBEATS // 2, seed=1)
    with torch.no_grad():
        real = accuracy(network(torch.from_numpy(data.test_images)).argmax(1).numpy(), data)
    tuned = accuracy(on(forms, data).classes, data)
    return {"float": real, "tuned": tuned, "samples": len(data.test_labels), **different(forms, data)}


def law(wanted: int = 10**7) -> dict[str, int]:
    """Compare spikes and membranes of random recurrent cores until so many have been counted once."""
    rng = np.random.default_rng(613)
    found: dict[str, int] = {"cores": 0}
    while found.get("spikes", 0) + found.get("membranes", 0) < wanted:
        jobs = [(core, random_input(rng, core, 50, 8)) for core in (random_core(rng) for _ in range(25))]
        found["cores"] += len(jobs)
        for name, count in asdict(compare(jobs)).items():
            found[name] = found.get(name, 0) + count
    return found


def one_network() -> dict[str, Any]:
    """Return what three float networks become on both chips."""
    data = pooled()
    found = []
    for seed in SEEDS:
        found.append(row := two_chips(data, seed))
        cells = [f"{chip} {one['rounded']:.3f} rounded, {one['tuned']:.3f} tuned" for chip, one in row["chips"].items()]
        print(f"seed {seed}: float {row['float']:.3f}; {'; '.join(cells)}", flush=True)
    return {"epsilon": EPSILON, "test_samples": len(data.test_labels), "networks": found}


def default_reset() -> dict[str, Any]:
    """Return what two networks of snnTorch are on Xylo."""
    data = pooled()
    found = []
    for seed in SEEDS[:2]:
        found.append(row := subtracting(data, seed))
        print(f"snnTorch, seed {seed}: float {row['float']:.3f}, xylo {row['tuned']:.3f}", flush=True)
    return {"steps": STEPS, "test_samples": len(data.test_labels), "networks": found}


PARTS = {"one-network": one_network, "default-reset": default_reset, "law": law, "heartbeats": heartbeats}


def main() -> None:
    """Do the parts that are named, or all, and write a record of each."""
    torch.set_num_threads(1)
    for name in sys.argv[1:] or PARTS:
        found = PARTS[name]()
        record = Benchmark(**header(f"xylo-{name}", f"python benchmarks/two_chips.py {name}"), **found)
        write_record(OUT / f"{name}.json", record)
        print(name, {key: value for key, value in found.items() if key != "networks"}, flush=True)


if __name__ == "__main__":
    OUT = given_out.out("xylo")
    main()
