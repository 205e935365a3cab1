"""An ANN beside `spikeproof faults`: the same layers with ReLU, 8-bit weights, the same flips by chance and by search.

python benchmarks/faults_ann.py writes benchmarks/faults-ann-seed*.json in --out. Convolutions and linear layer of the
digits recipe, batch norms folded, weights rounded to 8 bits in two's complement with a power-of-two step a layer;
activations and biases stay float32. Only weights flip.
"""

import given_out
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spikeproof.eval.faults.chance import POINTS, counts, crossing
from spikeproof.eval.faults.search import BEAM
from spikeproof.eval.records.base import header, write_record
from spikeproof.eval.records.benchmark import Benchmark
from spikeproof.toolkit.config import load_recipe
from spikeproof.toolkit.data import Dataset, load_data
from spikeproof.toolkit.quantize import weight_step

OUT = given_out.USUAL / "benchmarks"
BITS, SEEDS, MOST, WORST, SEARCHED, LEVEL = 8, 20, 1024, 40, 200, 0.11


def trained(data: Dataset, seed: int) -> nn.Sequential:
    """Return the ANN, trained as the recipe trains: Adam, the rate falling along half a cosine."""
    settings = load_recipe("digits").train
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32)):
        conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 10))
    x, y = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.rate)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    for _ in range(settings.epochs):
        for part in torch.randperm(len(x)).split(settings.batch):
            optimizer.zero_grad()
            functional.cross_entropy(network(x[part]), y[part]).backward()
            optimizer.step()
        rate.step()
    return network.eval()


class Ann:
    """Folded layers with integer weights; ``bits`` are numbered layer after layer, word after word, from the lowest."""

    def __init__(self, network: nn.Sequential) -> None:
        self.steps, self.biases, self.codes = [], [], []
        for place in (0, 4):
            conv, norm = network[place], network[place + 1]
            scale = norm.weight.data / (norm.running_var + norm.eps).sqrt()
            self._add(conv.weight.data * scale[:, None, None, None], norm.bias.data - norm.running_mean * scale)
        self._add(network[-1].weight.data, network[-1].bias.data)
        self.sizes = np.cumsum([0, *(code.numel() * BITS for code in self.codes)])

    def _add(self, weight: Tensor, bias: Tensor) -> None:
        step = weight_step(weight, BITS)
        self.steps.append(step)
        self.biases.append(bias)
        self.codes.append((weight / step).round().clamp(-(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1).long())

    def weights(self, flips: list[int]) -> list[Tensor]:
        """Return the weights with these bits flipped."""
        found = []
        for layer, code in enumerate(self.codes):
            words = (code & (2**BITS - 1)).flatten().numpy().copy()
            here = np.array(
                [f - self.sizes[layer] for f in flips if self.sizes[layer] <= f < self.sizes[layer + 1]], int
            )
            np.bitwise_xor.at(words, here // BITS, np.int64(1) << here % BITS)
            words = words - (words >> (BITS - 1) << BITS)
            found.append(torch.from_numpy(words).reshape(code.shape).float() * self.steps[layer])
        return found

    def logits(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Return the logits (samples, classes)."""
        for weight, bias in zip(weights[:-1], self.biases, strict=False):
            x = functional.max_pool2d(functional.relu(functional.conv2d(x, weight, bias, padding=1)), 2)
        return functional.linear(x.flatten(1), weights[-1], self.biases[-1])

    def accuracy(self, x: Tensor, y: Tensor, flips: list[int]) -> float:
        """Return the share that is right."""
        with torch.no_grad():
            return float((self.logits(x, self.weights(flips)).argmax(1) == y).double().mean())

    def candidates(self, x: Tensor, y: Tensor, flips: list[int]) -> list[int]:
        """Return the bits of each layer whose flips raise the loss most by its gradient."""
        weights = [weight.requires_grad_() for weight in self.weights(flips)]
        slopes = torch.autograd.grad(functional.cross_entropy(self.logits(x, weights), y), weights)
        found: list[int] = []
        worth = np.array([*(2.0**bit for bit in range(BITS - 1)), -(2.0 ** (BITS - 1))])
        for layer, (weight, slope) in enumerate(zip(weights, slopes, strict=True)):
            code = (weight.detach() / self.steps[layer]).round().long().flatten().numpy()[:, None]
            change = np.where(code >> np.arange(BITS) & 1 == 1, -worth, worth) * self.steps[layer]
            gain = (slope.double().flatten().numpy()[:, None] * change).ravel()
            places = self.sizes[layer] + np.argsort(-gain, kind="stable")
            found += [int(place) for place in places[~np.isin(places, flips)][:BEAM]]
        return found


def search(ann: Ann, x: Tensor, y: Tensor) -> list[float]:
    """Return the accuracy after each searched flip; the rule of :func:`spikeproof.eval.faults.search.search`."""
    flips: list[int] = []
    found: list[float] = []
    some, labels = x[:SEARCHED], y[:SEARCHED]
    while len(flips) < WORST and (not found or found[-1] > LEVEL):
        scores = []
        for place in ann.candidates(some, labels, flips):
            with torch.no_grad():
                logits = ann.logits(some, ann.weights([*flips, place]))
            right = int((logits.argmax(1) == labels).sum())
            scores.append((-right, float(functional.cross_entropy(logits, labels)), place))
        flips.append(max(scores)[2])
        found.append(ann.accuracy(x, y, flips))
    return found


def measure(seed: int) -> None:
    """Train, flip, and write one record."""
    data = load_data(load_recipe("digits").data)
    ann = Ann(trained(data, seed))
    x, y = torch.from_numpy(data.test_images), torch.from_numpy(data.test_labels)
    clean, total = ann.accuracy(x, y, []), int(ann.sizes[-1])
    sizes = counts(MOST)
    orders = [np.random.default_rng(draw).permutation(total)[:MOST].tolist() for draw in range(SEEDS)]
    chance = [[ann.accuracy(x, y, order[:size]) for order in orders] for size in sizes]
    each = [crossing(sizes, [row[draw] for row in chance], clean, POINTS) for draw in range(SEEDS)]
    searched = search(ann, x, y)
    record = Benchmark(
        **header(f"faults-ann-seed{seed}", "python benchmarks/faults_ann.py", data=data),
        bits=total,
        samples=len(y),
        clean=clean,
        flips=sizes,
        random=chance,
        cost=crossing(sizes, [float(np.mean(row)) for row in chance], clean, POINTS),
        cost_by_seed=each,
        searched=searched,
        level=LEVEL,
        points=next((n for n, found in enumerate(searched, 1) if found <= clean - POINTS + 1e-12), None),
        reached=next((n for n, found in enumerate(searched, 1) if found <= LEVEL + 1e-12), None),
    )
    write_record(OUT / f"faults-ann-seed{seed}.json", record)
    print(f"seed {seed}: clean {clean:.3f}, 5 points: {record.cost} random, {record.points} searched; {record.reached}")


if __name__ == "__main__":
    OUT = given_out.out("benchmarks")
    for number in (3407, 3408, 3409):
        measure(number)
