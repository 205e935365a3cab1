import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from spikeproof.toolkit.config import CodingSettings, ModelSettings, Recipe, TrainSettings
from spikeproof.toolkit.errors import FileError, InputError, OtherProcessError
from spikeproof.toolkit.files import read_arrays, write_arrays
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.train import Epoch, _flipped, make_fabric, seeded, train_network

EPOCHS = 3
SETTINGS = TrainSettings(seed=11, batch=10)
MODEL = ModelSettings(channels=[2])


class Stopped(Exception):
    """Power failure."""


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((32, 1, 4, 4), dtype=np.float32), rng.integers(0, 3, 32)


Train = Callable[..., tuple[SpikingNetwork, list[Epoch]]]


@pytest.fixture(scope="module")
def train(data: tuple[np.ndarray, np.ndarray]) -> Train:
    def run(model: ModelSettings = MODEL, **options: Any) -> tuple[SpikingNetwork, list[Epoch]]:
        network = build_network(Recipe(model=model, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1)
        return network, train_network(
            network, *data, **{"settings": SETTINGS, "epochs": EPOCHS, "rate": 0.01} | options
        )

    return run


def stop_after(epoch: int) -> Callable[[Epoch], None]:
    def hook(done: Epoch) -> None:
        if done.epoch == epoch:
            raise Stopped

    return hook


def assert_same_bits(one: SpikingNetwork, other: SpikingNetwork) -> None:
    for name, tensor in one.state_dict().items():
        assert tensor.numpy().tobytes() == other.state_dict()[name].numpy().tobytes(), name


def test_the_same_seed_gives_the_same_bits(train: Train) -> None:
    torch.manual_seed(1)
    one, first = train()
    torch.manual_seed(2)
    other, second = train()
    assert first == second
    assert_same_bits(one, other)


def test_another_seed_gives_other_weights(train: Train) -> None:
    one, other = train()[0], train(settings=TrainSettings(seed=12, batch=10))[0]
    assert not torch.equal(one.state_dict()["layers.linear.weight"], other.state_dict()["layers.linear.weight"])


def test_training_lowers_the_loss_and_ends_in_evaluation_mode(train: Train) -> None:
    network, history = train(epochs=15, rate=0.05)
    assert [entry.epoch for entry in history] == list(range(1, 16))
    assert history[-1].loss < history[0].loss
    assert not network.training


def test_the_reported_loss_and_accuracy_are_those_of_the_images_as_seen(
    train: Train, data: tuple[np.ndarray, np.ndarray]
) -> None:
    reference = build_network(Recipe(model=MODEL, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1).train()
    logits, labels = reference(torch.from_numpy(data[0])), torch.from_numpy(data[1])
    _, history = train(settings=TrainSettings(seed=11, batch=32), epochs=1)
    assert history[0].loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert history[0].accuracy == (logits.argmax(1) == labels).float().mean().item()


def test_every_epoch_sees_every_sample_once_in_an_order_of_its_own(data: tuple[np.ndarray, np.ndarray]) -> None:
    network, seen = build_network(Recipe(model=MODEL, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1), []
    network.register_forward_pre_hook(
        lambda module, inputs: seen.extend(image.numpy().tobytes() for image in inputs[0])
    )
    train_network(network, *data, SETTINGS, epochs=2, rate=0.01)
    first, second = seen[:32], seen[32:]
    assert sorted(first) == sorted(second) == sorted(image.tobytes() for image in data[0])
    assert first != second


@pytest.mark.parametrize("stop", range(1, EPOCHS + 1))
def test_a_resumed_training_gives_the_bits_of_an_uninterrupted_one(train: Train, tmp_path: Path, stop: int) -> None:
    state = tmp_path / "state.safetensors"
    whole, history = train()
    with pytest.raises(Stopped):
        train(state=state, identity="mine", after_epoch=stop_after(stop))
    assert state.exists()
    resumed, told = train(state=state, identity="mine")
    assert told == history
    assert_same_bits(resumed, whole)
    assert list(tmp_path.iterdir()) == []


def test_a_training_may_be_interrupted_more_than_once(train: Train, tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    for stop in (1, 2):
        with pytest.raises(Stopped):
            train(state=state, after_epoch=stop_after(stop))
    assert_same_bits(train(state=state)[0], train()[0])


def test_a_state_of_another_recipe_is_refused_and_kept(train: Train, tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    with pytest.raises(Stopped):
        train(state=state, identity="mine", after_epoch=stop_after(1))
    before = state.read_bytes()
    with pytest.raises(FileError, match=r"state\.safetensors: belongs to another recipe or other data; delete it"):
        train(state=state, identity="other")
    assert state.read_bytes() == before


def test_a_state_that_other_code_began_is_refused_and_kept(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.safetensors"
    with pytest.raises(Stopped):
        train(state=state, identity="mine", after_epoch=stop_after(1))
    before = state.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("spikeproof.toolkit.train.code_hash", lambda: "another")
        with pytest.raises(FileError, match=r"state\.safetensors: begun by other code than this one; go on with"):
            train(state=state, identity="mine")
    assert state.read_bytes() == before
    assert_same_bits(train(state=state, identity="mine")[0], train()[0])


def test_a_state_of_another_network_is_refused(train: Train, tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    with pytest.raises(Stopped):
        train(state=state, after_epoch=stop_after(1))
    with pytest.raises(FileError, match=r"state\.safetensors: tensor .* has shape"):
        train(ModelSettings(channels=[3]), state=state)


@pytest.fixture(scope="module")
def saved_state(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    with pytest.raises(Stopped):
        train(state=path, after_epoch=stop_after(EPOCHS))
    return path


@settings(max_examples=40)
@given(st.data())
def test_a_cut_state_is_refused(
    train: Train, saved_state: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = saved_state.read_bytes()
    path = tmp_path_factory.getbasetemp() / "cut.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(FileError, match=r"cut\.safetensors"):
        train(state=path)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, header: arrays.pop("network/layers.linear.bias"),
        lambda arrays, header: arrays.update({"optimizer/99/exp_avg": np.zeros(1)}),
        pytest.param(
            lambda arrays, header: header.pop("history"),
        ),
        pytest.param(
            lambda arrays, header: header.update(history=[{"epoch": 1}]),
        ),
        pytest.param(
            lambda arrays, header: arrays.pop("optimizer/0/exp_avg"),
        ),
        pytest.param(
            lambda arrays, header: arrays.update({"optimizer/0/exp_avg": np.zeros(3, np.float32)}),
        ),
        pytest.param(
            lambda arrays, header: arrays["optimizer/0/exp_avg_sq"].fill(np.nan),
        ),
    ],
)
def test_a_state_that_lacks_something_is_refused(
    train: Train, saved_state: Path, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]
) -> None:
    arrays, header = read_arrays(saved_state, "training-state")
    change(arrays, header)
    path = tmp_path / "bad.safetensors"
    write_arrays(path, "training-state", arrays, header)
    with pytest.raises(FileError, match=r"bad\.safetensors"):
        train(state=path, epochs=EPOCHS + 1)


def test_a_loss_that_is_not_a_number_names_the_rate(train: Train) -> None:
    with pytest.raises(InputError, match=r"train\.rate: the loss became nan in epoch 1; lower the rate"):
        train(ModelSettings(channels=[2], gain=1e39), epochs=2)


def test_weights_that_overflow_name_the_rate(train: Train) -> None:
    with pytest.raises(InputError, match=r"train\.rate"):
        train(rate=1e30)


def test_devices_that_are_absent_name_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"train\.devices: 2 CUDA devices asked for, 1 found"):
        make_fabric(TrainSettings(accelerator="cuda", devices=2))


def random_numbers() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_seeded_gives_the_same_numbers_inside_and_leaves_all_states_outside() -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()  # noqa: NPY002
    drawn = []
    for _ in range(2):
        with seeded(9):
            drawn.append(random_numbers())
    assert drawn[0] == drawn[1]
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), states[2])


def test_seeded_restores_states_after_an_error() -> None:
    random.seed(5)
    expected = random.Random(5).random()
    with pytest.raises(Stopped):
        raise_seeded()
    assert random.random() == expected


def raise_seeded() -> None:
    with seeded(9):
        raise Stopped


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "cosine"},
        {"schedule": "constant"},
        {"schedule": "constant", "weight_decay": 0.3},
        {"schedule": "cosine", "weight_decay": 0.05},
    ],
)
def test_training_is_this_loop(data: tuple[np.ndarray, np.ndarray], train: Train, options: dict[str, Any]) -> None:
    """One batch an epoch leaves nothing to the order of samples, so PyTorch's own pieces must give the same weights."""
    epochs, rate = 6, 0.02
    settings = TrainSettings(seed=11, batch=len(data[0]), **options)
    found, _ = train(settings=settings, epochs=epochs, rate=rate)
    network = build_network(Recipe(model=MODEL, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=settings.weight_decay)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    images, labels = map(torch.from_numpy, data)
    network.train()
    for _ in range(epochs):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        if settings.schedule == "cosine":
            falling.step()
    for (name, one), other in zip(found.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")  # type: ignore[misc]


def test_flip_mirrors_half_of_the_images_and_nothing_else() -> None:
    images = torch.rand(4000, 1, 2, 3)
    with seeded(5):
        shown = _flipped(images)
    turned = (shown == images.flip(-1)).flatten(1).all(1)
    kept = (shown == images).flatten(1).all(1)
    assert bool((turned ^ kept).all())
    # Four standard deviations of a fair coin.
    assert abs(int(turned.sum()) - 2000) < 4 * 4000**0.5 / 2


def test_flip_reaches_the_network(train: Train) -> None:
    plain, _ = train()
    flipped, _ = train(settings=TrainSettings(seed=11, batch=10, flip=True))
    assert any(not torch.equal(one, other) for one, other in zip(plain.parameters(), flipped.parameters(), strict=True))


def test_a_process_that_is_not_the_first_ends_no_interpreter(
    data: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fabric's other processes stop by an error that callers can catch, not by leaving Python."""
    monkeypatch.setattr("lightning_fabric.Fabric.is_global_zero", property(lambda fabric: False))
    network = build_network(Recipe(model=MODEL, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1)
    with pytest.raises(OtherProcessError, match="the first one goes on"):
        train_network(network, *data, SETTINGS, epochs=1, rate=0.01)


def test_a_loss_of_ones_own_is_minimised_in_the_place_of_cross_entropy(
    data: tuple[np.ndarray, np.ndarray], train: Train
) -> None:
    """One batch an epoch, as in :func:`test_training_is_this_loop`."""
    settings, epochs, rate = TrainSettings(seed=11, batch=len(data[0]), schedule="constant"), 4, 0.02
    criterion = torch.nn.MultiMarginLoss()
    found, history = train(settings=settings, epochs=epochs, rate=rate, loss=criterion)
    network = build_network(Recipe(model=MODEL, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    images, labels = map(torch.from_numpy, data)
    network.train()
    for epoch in range(epochs):
        optimizer.zero_grad()
        loss = criterion(network(images), labels)
        assert history[epoch].loss == pytest.approx(loss.item(), rel=1e-3)
        loss.backward()
        optimizer.step()
    for one, other in zip(found.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_loss_that_is_no_number_is_refused(train: Train) -> None:
    with pytest.raises(InputError, match=r"loss: gave .* expected a tensor of one number"):
        train(loss=torch.nn.CrossEntropyLoss(reduction="none"))


def test_pytorchs_data_sets_and_loaders_train_as_arrays_do(data: tuple[np.ndarray, np.ndarray], train: Train) -> None:
    samples = TensorDataset(*map(torch.from_numpy, data))
    network = build_network(Recipe(model=MODEL, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1)
    train_network(network, samples, None, SETTINGS, epochs=EPOCHS, rate=0.01)
    assert_same_bits(network, train()[0])
    trained: list[SpikingNetwork] = []
    for _ in range(2):
        network = build_network(Recipe(model=MODEL, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1)
        sizes: list[int] = []
        handle = network.register_forward_pre_hook(lambda _, given, sizes=sizes: sizes.append(len(given[0])))  # type: ignore[misc]
        loader = DataLoader(samples, 7, shuffle=True, drop_last=True)
        train_network(network, loader, None, SETTINGS, epochs=2, rate=0.01)
        handle.remove()
        assert sizes == [7] * 8
        trained.append(network)
    # The user's batches, in an order that depends on the seed alone.
    assert_same_bits(*trained)


def test_labels_may_be_shares_of_classes(data: tuple[np.ndarray, np.ndarray], train: Train) -> None:
    shares = torch.nn.functional.one_hot(torch.from_numpy(data[1]), 3).float()
    network = build_network(Recipe(model=MODEL, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1)
    samples = TensorDataset(torch.from_numpy(data[0]), shares)
    history = train_network(network, samples, None, SETTINGS, epochs=EPOCHS, rate=0.01)
    assert_same_bits(network, train()[0])
    assert [one.accuracy for one in history] == [one.accuracy for one in train()[1]]


@pytest.mark.parametrize(
    ("batches", "why"),
    [
        ([torch.rand(2, 1, 4, 4)], "expected batches of two tensors"),
        ([(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))], "2 images of torch.uint8"),
        ([(torch.rand(2, 1, 4, 4), torch.tensor([0]))], "2 images of torch.float32 and 1 labels"),
    ],
)
def test_batches_that_are_no_images_with_labels_are_refused(batches: Any, why: str) -> None:
    network = build_network(Recipe(model=MODEL, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1)
    loader = DataLoader(batches, batch_size=None)
    with pytest.raises(InputError, match=f"training data: .*{why}"):
        train_network(network, loader, None, SETTINGS, epochs=1, rate=0.01)


def test_a_loader_without_a_length_is_refused() -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Any:
            yield torch.rand(1, 4, 4), 0

    network = build_network(Recipe(model=MODEL, coding=CodingSettings(steps=3)), (1, 4, 4), 3, seed=1)
    with pytest.raises(InputError, match="unknown length"):
        train_network(network, DataLoader(Endless(), 2), None, SETTINGS, epochs=1, rate=0.01)


def test_a_resumed_training_goes_on_in_as_many_threads_as_it_began(train: Train, tmp_path: Path) -> None:
    state, before = tmp_path / "state.safetensors", torch.get_num_threads()

    try:
        torch.set_num_threads(2)
        with pytest.raises(Stopped):
            train(state=state, after_epoch=stop_after(1))
        torch.set_num_threads(1)
        _, history = train(state=state)
        assert {epoch.threads for epoch in history} == {2}
        assert torch.get_num_threads() == 1
        _, history = train()
        assert {epoch.threads for epoch in history} == {1}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, -1, 10**9])
def test_a_state_with_an_impossible_number_of_threads_is_damaged(train: Train, tmp_path: Path, count: int) -> None:
    state = tmp_path / "state.safetensors"

    with pytest.raises(Stopped):
        train(state=state, after_epoch=stop_after(1))
    arrays, header = read_arrays(state, "training-state")
    header["history"][0]["threads"] = count
    write_arrays(state, "training-state", arrays, header)
    with pytest.raises(FileError, match="its history is damaged"):
        train(state=state)
