"""One side of one comparison in a process of its own: python worker.py SIDE SETTINGS; waits for "go" before each run.

"check" asks for what shows the bits that are computed, where the job has that. It answers with one line of JSON a run
on the standard output it was started with, and with its peak memory at the end.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import networks
import numpy as np
import torch
from torch import nn

from spikeproof.toolkit.kernels.memory import keep_freed_memory

Told = dict[str, Any]
Job = (
    tuple[Callable[[], Any], Callable[[Any], Told]]
    | tuple[Callable[[], Any], Callable[[Any], Told], Callable[[], Told]]
)
"""What is timed, what is told of its last result, and what is checked apart from it."""
NAMES = {"snntorch": networks.Snntorch, "spikingjelly": networks.Spikingjelly, "norse": networks.Norse}


OURS = ("ours", "ours-every-step", "ours-checkpointing", "ours-float", "loihi", "twin", "float", "pgd-any", "pgd")


def network(side: str, settings: dict[str, Any]) -> nn.Module:
    """Return a side's network with equal initial weights; ours are those that all are given."""
    steps = settings["steps"]
    first = (networks.residual if settings.get("network") == "residual" else networks.ours)(steps)
    if side.startswith("ours"):
        first.once = side != "ours-every-step"
        first.checkpointing = side == "ours-checkpointing"
        return first
    made = NAMES[side](steps)
    networks.copy_weights(first, made)
    return made


def train(side: str, settings: dict[str, Any]) -> Job:
    """Prepare a training step: forward, backward, Adam."""
    model = network(side, settings).train()
    images, labels = (torch.from_numpy(array) for array in networks.digits(settings["batch"]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, lambda loss: {"loss": loss}


def infer(side: str, settings: dict[str, Any]) -> Job:
    """Prepare answers to a batch of images: the float network, or the Program's integers on ``loihi``."""
    ours = networks.trained(settings["steps"], settings["training"])
    images, labels = networks.digits(settings["batch"])
    model: Any = ours
    if side == "loihi":
        from spikeproof.hw_targets.loihi.simulator import LoihiTarget
        from spikeproof.toolkit.coding import direct_integers

        compiled = LoihiTarget().compile(networks.program_of(ours))
        messages = direct_integers(images, settings["steps"])
        return lambda: compiled.run(messages).classes, lambda found: {"right": float((found == labels).mean())}
    if side == "snntorch":
        model = networks.Snntorch(settings["steps"]).eval()
        networks.copy_weights(ours, model)
    x = torch.from_numpy(images)

    def run() -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(x).argmax(1))

    return run, lambda found: {"right": float((found == labels).mean())}


def gradient(side: str, settings: dict[str, Any]) -> Job:
    """Prepare forward and backward to the image: the float network, or the twin of its Program."""
    from spikeproof.hw_targets.twin import Twin

    ours = networks.trained(settings["steps"], settings["training"])
    model: nn.Module = ours if side == "float" else Twin(networks.program_of(ours))
    model.requires_grad_(False)
    images, labels = (torch.from_numpy(array) for array in networks.digits(settings["batch"]))

    def run() -> torch.Tensor:
        x = images.clone().requires_grad_()
        return torch.autograd.grad(nn.functional.cross_entropy(model(x), labels, reduction="sum"), x)[0]

    return run, lambda found: {"nonzero": float((found != 0).double().mean())}


def attack(side: str, settings: dict[str, Any]) -> Job:
    """Prepare PGD on one batch: ours lets broken samples go, the library's runs on our network and on snnTorch's."""
    from spikeproof.toolkit.attacks.gradient import PGD
    from spikeproof.toolkit.attacks.iterative import AnyPGD
    from spikeproof.toolkit.attacks.victim import predict

    ours = networks.trained(settings["steps"], settings["training"])
    images, labels = networks.digits(settings["batch"])
    common = {"epsilon": settings["epsilon"], "steps": settings["iterations"], "batch": settings["batch"]}
    if side != "art":
        made = AnyPGD(**common) if side == "pgd-any" else PGD(**common)
        return lambda: made(ours, images, labels).robust, lambda robust: {"robust": float(robust.mean())}
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    loop = networks.Snntorch(settings["steps"]).eval()
    networks.copy_weights(ours, loop)
    box = PyTorchClassifier(
        loop, nn.CrossEntropyLoss(), images.shape[1:], networks.CLASSES, clip_values=(0.0, 1.0), device_type="cpu"
    )
    library = ProjectedGradientDescentPyTorch(
        box,
        eps=settings["epsilon"],
        eps_step=2.5 * settings["epsilon"] / settings["iterations"],
        max_iter=settings["iterations"],
        num_random_init=1,
        batch_size=settings["batch"],
        verbose=False,
    )

    def run() -> np.ndarray:
        return np.asarray(predict(loop, library.generate(images, labels)) == labels)

    return run, lambda robust: {"robust": float(robust.mean())}


def simulate(side: str, settings: dict[str, Any]) -> Job:
    """Prepare a Program on binary input: ``loihi`` in one batch, or ``lava`` on the ``first`` few samples."""
    from spikeproof.hw_targets.lava import client
    from spikeproof.hw_targets.target import get_target

    client.CHUNK = 10_000  # one worker a run
    program = networks.random_program(settings["kind"], settings["steps"])
    compiled = get_target(side.partition("-")[0]).compile(program)
    inputs = networks.spikes(program, settings["batch"], settings.get("density", 0.1))[:, : settings.get("first")]

    def told(trace: Any) -> Told:
        few = settings.get("first") or settings.get("compared", 1)
        counts = {name: int(found[:few].sum()) for name, found in trace.spike_counts.items()}
        each = {name: _hash(found[:few]) for name, found in trace.spike_counts.items()}
        return {"spikes": counts, "counts": {**each, "read-out": _hash(trace.output[:few])}}

    def check() -> Told:
        rasters = compiled.run(inputs[:, :1], rasters=True).rasters
        return {name: _hash(raster.spikes) for name, raster in rasters.items()}

    return lambda: compiled.run(inputs), told, check


def _hash(array: np.ndarray) -> str:
    return sha256(np.ascontiguousarray(array, dtype=np.int64)).hexdigest()[:16]


def evaluation(side: str, settings: dict[str, Any]) -> Job:
    """Prepare accuracy, rates and operations of a Program on many images, batch by batch, as ``evaluate`` has them."""
    from spikeproof.eval.measure.forms import measure
    from spikeproof.hw_targets.loihi.simulator import LoihiTarget

    network = networks.trained(settings["steps"], settings["training"])
    program = networks.program_of(network)
    compiled = LoihiTarget().compile(program)
    images, labels = networks.digits(settings["samples"])

    def run() -> float:
        found, _, _ = measure(compiled, program, network.coder, images, labels, integers=True, batch=settings["batch"])
        return found.accuracy.value

    return run, lambda right: {"right": right}


def seconds(run: Callable[[], Any]) -> float:
    """Return how long it takes."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def scaling(side: str, settings: dict[str, Any]) -> Job:
    """Prepare seconds of ``loihi`` as one thing at a time changes."""
    from spikeproof.hw_targets.loihi.simulator import LoihiTarget

    def timed(one: dict[str, Any]) -> float:
        program = networks.random_program(one["kind"], one["steps"])
        compiled, inputs = LoihiTarget().compile(program), networks.spikes(program, one["batch"], one["density"])
        return seconds(lambda: compiled.run(inputs))

    def run() -> Told:
        return {
            sweep["name"]: [timed({**sweep["base"], sweep["key"]: value}) for value in sweep["values"]]
            for sweep in settings["sweeps"]
        }

    return run, lambda found: found


def rates(side: str, settings: dict[str, Any]) -> Job:
    """Prepare rates: float32 products a second and bytes a second, the machine's own and what ``loihi`` reaches.

    Products: a square matrix product; a Program 784-512-10 whose input is too dense for single spikes. Events: the
    products that the same Program's sums would need on 5 % activity. Memory: a copy of a tensor; the neurons alone,
    which read a float and write a byte a step.
    """
    from spikeproof.hw_targets.loihi import neurons
    from spikeproof.hw_targets.loihi.simulator import LoihiTarget

    size, steps, batch, width = settings["size"], settings["steps"], settings["batch"], 512
    program = networks.random_program(f"mlp-{width}", steps)
    compiled = LoihiTarget().compile(program)
    dense, sparse = (networks.spikes(program, batch, density) for density in (0.9, 0.05))
    left, right = torch.rand(2, size, size)
    a = torch.randint(-9000, 9000, (steps, batch, width)).float()
    copy = torch.empty_like(a)
    hidden = program.populations[0]
    products = 2 * steps * batch * width * 784

    def run() -> Told:
        return {
            "machine products": 2 * size**3 / seconds(lambda: left @ right),
            "loihi products": products / seconds(lambda: compiled.run(dense)),
            "loihi events": products / seconds(lambda: compiled.run(sparse)),
            "machine memory": 2 * a.nbytes / seconds(lambda: copy.copy_(a)),
            "loihi memory": 5 * a.numel() / seconds(lambda: neurons.run(a, hidden, 9000)),
        }

    return run, lambda found: found


JOBS = {job.__name__: job for job in (train, infer, gradient, attack, simulate, evaluation, scaling, rates)}


def versions() -> dict[str, str]:
    """Return what is installed here."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("torch", "numpy", "snntorch", "spikingjelly", "norse", "adversarial-robustness-toolbox"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def peak_kib() -> int:
    """Return the peak memory of this process; ``ru_maxrss`` would be its parent's if that is larger."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    side, settings = sys.argv[1], json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    torch.set_num_threads(settings["threads"])
    if side in OURS:
        keep_freed_memory()  # as our command line does
    before = peak_kib()
    run, told, *check = JOBS[settings["job"]](side, settings)

    def answer(**found: Any) -> None:
        print(json.dumps(found), file=answers, flush=True)

    answer(versions=versions())
    for line in sys.stdin:
        if line.strip() == "check":
            answer(**check[0]())
            continue
        if line.strip() != "go":
            break
        begun, used = time.perf_counter(), time.process_time()
        result = run()
        answer(seconds=time.perf_counter() - begun, cpu=time.process_time() - used, **told(result))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    answer(peak_mib=peak_kib() / 1024, start_mib=before / 1024, children_mib=children / 1024)


if __name__ == "__main__":
    main()
