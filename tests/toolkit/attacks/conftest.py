"""Victims that attacks can be measured on: a plain network and a spiking one, both trained on the digits."""

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.toolkit.config import CodingSettings, DataSettings, ModelSettings, Recipe, TrainSettings
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.models import build_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.train import train_network

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
    network = build_network(
        Recipe(model=ModelSettings(channels=[8]), coding=CodingSettings(steps=4)), data.shape, data.classes, seed=0
    )
    settings = TrainSettings(seed=0, epochs=6, batch=64)
    train_network(network, data.train_images, data.train_labels, settings, epochs=6, rate=1e-2)
    return network
