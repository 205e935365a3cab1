"""Baselines: meters that are read rightly or said to be absent, and the INT8 ANN counted by hand."""

import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.eval.cost import baselines
from spikeproof.eval.cost.baselines import Meter, int8_ann, metered, nvml, rapl
from spikeproof.eval.cost.constants import table
from spikeproof.toolkit.coding import Direct
from spikeproof.toolkit.errors import TargetError
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF


def zone(root: Path, name: str, kind: str, joules: float, largest: float = 1000.0) -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "name").write_text(f"{kind}\n")
    (path / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    (path / "max_energy_range_uj").write_text(f"{int(largest * 1e6)}\n")
    return path


def test_rapl_adds_packages_and_goes_on_after_a_counter_began_again(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 990)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    meter = rapl(tmp_path)
    assert isinstance(meter, Meter)
    start = meter.read()
    (first / "energy_uj").write_text("2000000")  # 990 J -> 1000 J = 0 J -> 2 J
    (second / "energy_uj").write_text("8000000")
    assert meter.read() - start == pytest.approx(12 + 3)


def test_a_processor_without_a_readable_meter_is_absent_with_the_reason(tmp_path: Path) -> None:
    assert "no RAPL counter" in str(rapl(tmp_path))
    (zone(tmp_path, "intel-rapl:0", "package-0", 1) / "energy_uj").write_text("")
    assert "RAPL cannot be read" in str(rapl(tmp_path))


class Clock:
    """Time that passes only when it is slept or worked."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Steady(Meter):
    """Ten watts of idleness, thirty while the clock works."""

    name = "steady"

    def __init__(self, clock: Clock, idle: float = 10.0) -> None:
        self.clock, self.idle, self.extra = clock, idle, 0.0

    def read(self) -> float:
        return self.idle * self.clock.now + self.extra


def test_a_measurement_is_bounded_by_all_energy_and_what_the_run_added(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(baselines, "time", clock)
    meter = Steady(clock)

    def run() -> None:
        clock.now += 0.5
        meter.extra += 0.5 * 20

    found = metered(meter, run, samples=4, seconds=2.0)
    # Four runs in 2 s: 16 samples; 30 W in all, 20 W of them added.
    assert (found.samples, found.seconds, found.idle_watts) == (16, 2.0, pytest.approx(10))
    assert (found.joules.low, found.joules.high) == pytest.approx((20 * 2 / 16, 30 * 2 / 16))


def test_a_counter_that_stands_still_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(baselines, "time", clock)
    with pytest.raises(TargetError, match="stood still"):
        metered(Steady(clock, idle=0.0), lambda: clock.sleep(1), samples=1)


def test_without_a_gpu_nvml_is_absent_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert nvml() == "torch finds no CUDA device on this machine"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in str(nvml())


def test_nvml_counts_millijoules_of_torchs_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    state = {"mj": 1000}
    library: Any = types.ModuleType("pynvml")
    library.NVMLError = NVMLError
    library.nvmlInit = lambda: None
    library.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
    library.nvmlDeviceGetTotalEnergyConsumption = lambda device: state["mj"] if device == "GPU-abc" else None
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: types.SimpleNamespace(uuid="abc"))
    meter = nvml()
    assert isinstance(meter, Meter)
    start = meter.read()
    state["mj"] += 2500
    assert meter.read() - start == pytest.approx(2.5)

    def refuse(device: Any) -> None:
        raise NVMLError("not supported")

    library.nvmlDeviceGetTotalEnergyConsumption = refuse
    assert nvml() == "NVML gives no energy counter for this device (not supported)"


def test_the_int8_ann_is_counted_by_hand() -> None:
    """A 3 by 3 image, a 2 by 2 kernel with padding 1 and stride 2 for 2 channels, 8 inputs to 3 classes.

    The kernel stands at 2 by 2 places; it meets 1, 2, 2 and 4 pixels, the rest is padding: 9 products a channel.
    """
    network = SpikingNetwork(
        OrderedDict(
            conv=nn.Conv2d(1, 2, 2, stride=2, padding=1),
            lif=LIF(0.5, 1.0, 2.0),
            flatten=nn.Flatten(),
            linear=nn.Linear(8, 3),
            out=LIF(0.5, 1.0, 2.0),
        ),
        Direct(4),
        gain=1.0,
    )
    found = int8_ann(network, (1, 3, 3), table())
    assert (found.macs, found.weights, found.activations) == (2 * 9 + 24, 8 + 24, 9 + 8 + 3)
    low = 42 * 0.23 + 10 * (32 + 20) / 8
    high = 42 * 0.23 + 100 * 2 * 42 / 8
    assert (1e12 * found.joules.low, 1e12 * found.joules.high) == pytest.approx((low, high))
    assert np.isfinite(found.joules.high)
