"""Victims that attacks can be measured on: a plain network and a spiking one, both trained on the digits."""

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.toolkit.config import DataSettings, ModelSettings, TrainSettings
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.layers import SpikingNetwork
from spikeproof.toolkit.models import seeded_network
from spikeproof.toolkit.train import fit

Digits = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def digits() -> Digits:
    """The first 200 test digits."""
    data = load_data(DataSettings(test_samples=200))
    return data.test_images, data.test_labels


@pytest.fixture(scope="session")
def plain() -> nn.Module:
    """A multilayer perceptron without spikes."""
    data = load_data(DataSettings())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        x, y = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
        for _ in range(120):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def spiking() -> SpikingNetwork:
    """A small spiking network with max pooling."""
    data = load_data(DataSettings())
    network = seeded_network(ModelSettings(channels=[8]), 4, data.shape, data.classes, 0)
    settings = TrainSettings(seed=0, epochs=6, batch=64)
    fit(network, data.train_images, data.train_labels, settings, epochs=6, rate=1e-2)
    return network
