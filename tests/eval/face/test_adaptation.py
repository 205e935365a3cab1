"""The verbs convert and adapt: what they return, and what they measure."""

from collections import OrderedDict

import pytest
import snntorch
import torch
from torch import nn

import spikeproof as sp
from spikeproof.toolkit.network.population import LeakyIntegrator, Population

MOST = 200


@pytest.fixture(scope="module")
def data() -> sp.Dataset:
    return sp.load_data("digits", test_samples=MOST)


@pytest.fixture(scope="module")
def ann(data: sp.Dataset) -> nn.Module:
    """A small convolutional network of ReLU, trained in a second."""
    torch.manual_seed(0)
    first = [nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)]
    network = nn.Sequential(*first, nn.Flatten(), nn.Linear(128, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    x, y = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(12):
        for part in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[part]), y[part]).backward()
            optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def converted(ann: nn.Module, data: sp.Dataset) -> sp.Converted:
    pytest.importorskip("spikingjelly")
    return sp.convert(ann, data, steps=32)


def by_hand(network: nn.Module, data: sp.Dataset) -> float:
    with torch.no_grad():
        found = network(torch.from_numpy(data.test_images)).argmax(1).numpy()
    return float((found == data.test_labels).mean())


def test_accuracy_by_steps_is_that_of_networks_of_so_many_steps(
    ann: nn.Module, data: sp.Dataset, converted: sp.Converted
) -> None:
    network, record, shown = converted.network, converted.record, converted
    assert [one.steps for one in record.by_steps] == [1, 2, 4, 8, 16, 32]
    assert record.ann.value == by_hand(ann, data)
    assert record.ann.value > 0.9
    assert record.equal >= 0.95
    for one in (record.by_steps[1], record.by_steps[3]):
        assert one.accuracy.value == by_hand(sp.convert(ann, data, steps=one.steps).network, data)
    assert record.by_steps[-1].accuracy.value == by_hand(network, data)
    assert record.by_steps[-1].accuracy.value > record.ann.value - 0.02
    assert record.by_steps[-1].same > record.by_steps[0].same
    assert "32 steps" in repr(shown)
    assert "Accuracy by number of steps" in shown.page()
    assert record.command.startswith("spikeproof.convert(ann, sample")


def test_images_alone_have_no_accuracy(ann: nn.Module, data: sp.Dataset) -> None:
    pytest.importorskip("spikingjelly")
    shown = sp.convert(ann, torch.from_numpy(data.train_images[:50]), steps=3)
    assert shown.record.ann is None
    assert [one.accuracy for one in shown.record.by_steps] == [None] * 3
    assert "\u2013" in repr(shown)


def test_a_converted_network_walks_the_road(data: sp.Dataset, converted: sp.Converted) -> None:
    network = converted.network
    made = sp.adapt(network, data)
    adapted, record = made.network, made.record
    assert {change.kind for change in record.changes} == {"reset", "comparison"}
    assert all(not change.exact and change.same == 1 for change in record.changes if change.kind == "comparison")
    assert record.before.value == by_hand(network, data)
    assert record.after.value == by_hand(adapted, data)
    assert record.refused is None
    assert record.lowered
    tuned = sp.quantize(adapted, data, epochs=2, rate=2e-3, loss=nn.CrossEntropyLoss(label_smoothing=0.1), batch=128)
    program = sp.lower(tuned, data.shape, check=data.test_images[:20])
    trace = sp.run(program, data.test_images, coder=network)
    found = float((trace.classes == data.test_labels).mean())
    assert found > record.before.value - 0.05


def test_each_change_is_measured_alone(data: sp.Dataset) -> None:
    torch.manual_seed(2)
    beta = torch.linspace(0.6, 0.9, 24)
    cells = Population({"keep": beta, "threshold": 0.5}, reset="subtract_later")
    layers = [nn.Flatten(), nn.Linear(64, 24), cells, nn.Linear(24, 10), LeakyIntegrator({"keep": 0.8})]
    network = sp.SpikingNetwork(OrderedDict((f"l{n}", layer) for n, layer in enumerate(layers)), 6, 10.0)
    sp.train(network, (data.train_images, data.train_labels), epochs=3, rate=0.01, batch=64)
    shown = sp.adapt(network, (data.test_images, data.test_labels), populations=8)
    adapted = shown.network
    reset, constants, last = shown.record.changes
    assert (reset.kind, constants.kind, last.kind) == ("reset", "constants", "read-out")
    hard = Population({"keep": beta, "threshold": 0.5})
    one = sp.SpikingNetwork(
        OrderedDict([*list(network.named_layers())[:2], ("l2", hard), *list(network.named_layers())[3:]]), 6, 10.0
    )
    assert reset.accuracy.value == by_hand(one, data)
    mean = Population({"keep": float(beta.mean()), "threshold": 0.5}, reset="subtract_later")
    two = sp.SpikingNetwork(
        OrderedDict([*list(network.named_layers())[:2], ("l2", mean), *list(network.named_layers())[3:]]), 6, 10.0
    )
    assert constants.accuracy.value == by_hand(two, data)
    assert last.accuracy.samples == MOST
    assert shown.record.after.value == by_hand(adapted, data)
    with torch.no_grad():
        before, after = (model(torch.from_numpy(data.test_images)).argmax(1).numpy() for model in (network, adapted))
    assert shown.record.same == float((before == after).mean())
    assert shown.record.command == "spikeproof.adapt(network, data, pools='after', populations=8)"
    assert "What was changed" in shown.page()
    assert "read-out" in repr(shown)


def test_without_data_nothing_is_measured_and_the_reason_is_said() -> None:
    layers = [nn.Flatten(), nn.Linear(16, 5), LeakyIntegrator({"keep": 0.5}), nn.Linear(5, 3), LeakyIntegrator({})]
    network = sp.SpikingNetwork(OrderedDict((f"l{n}", layer) for n, layer in enumerate(layers)), 4, 1.0)
    shown = sp.adapt(network, shape=(1, 4, 4))
    record = shown.record
    assert record.before is None
    assert record.lowered
    assert record.refused is not None
    assert "l2" in record.refused
    assert len(record.left) == 1
    assert "does not deploy" in shown.title
    fine = sp.SpikingNetwork(OrderedDict((f"l{n}", layers[n]) for n in (0, 1, 4)), 4, 1.0)
    assert sp.adapt(fine).record.refused is None
    assert sp.adapt(fine, shape=(1, 4, 4)).record.refused is None
    assert sp.adapt(fine).record.changes == []


class Tutorial(nn.Module):
    """The networks of snnTorch's tutorials, which reset by subtraction."""

    def __init__(self, planes: bool) -> None:
        super().__init__()
        self.planes = planes
        self.first: nn.Module
        if planes:
            self.first, self.second = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 32, 3, padding=1)
            self.pool, self.last = nn.MaxPool2d(2), nn.Linear(128, 10)
        else:
            self.first, self.last = nn.Linear(64, 128), nn.Linear(128, 10)
        beta = 0.5 if planes else 0.95
        self.cells = nn.ModuleList(snntorch.Leaky(beta=beta) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        membranes, sent = [cell.init_leaky() for cell in self.cells], []
        for _ in range(10):
            if self.planes:
                now, membranes[0] = self.cells[0](self.pool(self.first(x)), membranes[0])
                now, membranes[1] = self.cells[1](self.pool(self.second(now)), membranes[1])
            else:
                now, membranes[0] = self.cells[0](self.first(x.flatten(1)), membranes[0])
            now, membranes[2] = self.cells[2](self.last(now.flatten(1)), membranes[2])
            sent.append(now)
        return torch.stack(sent).sum(0)


@pytest.mark.long
@pytest.mark.parametrize("planes", [False, True], ids=["mlp", "conv"])
def test_programs_of_soft_reset_networks_are_within_1_5_points_of_them(planes: bool) -> None:
    data = sp.load_data("digits", test_samples=500)
    x, y = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    lost = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = Tutorial(planes)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(15):
            for part in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[part]), y[part]).backward()
                optimizer.step()
        theirs = by_hand(model.eval(), data)
        assert theirs > 0.93
        adapted = sp.adapt(sp.adopt(model, x[:20]).network, data)
        assert adapted.record.before.value == pytest.approx(theirs, abs=0.003)
        tuned = sp.quantize(adapted.network, data, epochs=10, rate=2e-3, batch=64)
        classes = sp.run(sp.lower(tuned, data.shape), data.test_images, coder=tuned).classes
        lost.append(theirs - float((classes == data.test_labels).mean()))
    assert sum(lost) / 3 <= 0.015, lost
