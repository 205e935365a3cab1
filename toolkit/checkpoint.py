"""Networks and training states as safetensors files: weights and JSON, nothing executable."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .config import Recipe, parse_recipe
from .errors import FileError, InputError
from .files import read_arrays, write_arrays
from .models import build_network
from .network.network import SpikingNetwork

WEIGHT_LIMIT = 2**28
"""Most weights of a network that a file may ask for."""


def learned(network: nn.Module) -> dict[str, Tensor]:
    """Return what training changed: weights and batch-norm statistics; a neuron's constants come from the recipe."""
    return {name: tensor for name, tensor in network.state_dict().items() if ".neuron." not in name}


def load_weights(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy ``tensors`` into ``network`` after checking names, shapes and finiteness.

    Raises:
        FileError: a name is missing or unknown, a shape differs, or a value is NaN or infinite.
    """
    wanted = learned(network)
    for name, tensor in tensors.items():
        if name not in wanted:
            raise FileError(f"{path}: tensor {name!r} does not belong to this network; was it made by another recipe?")
        if tensor.shape != wanted[name].shape:
            raise FileError(
                f"{path}: tensor {name!r} has shape {tuple(tensor.shape)}, the recipe asks for "
                f"{tuple(wanted[name].shape)}; use the recipe it was made with"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FileError(f"{path}: tensor {name!r} holds NaN or infinity; train again")
    missing = sorted(set(wanted) - set(tensors))
    if missing:
        raise FileError(f"{path}: tensor {missing[0]!r} is missing; the file is incomplete, train again")
    network.load_state_dict(tensors, strict=False)


def to_tensors(arrays: dict[str, Any]) -> dict[str, Tensor]:
    """Turn NumPy arrays into tensors that own their memory."""
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def to_arrays(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Turn tensors into NumPy arrays on the host."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def save_network(path: Path, network: SpikingNetwork, recipe: Recipe, shape: tuple[int, ...], classes: int) -> None:
    """Write a float network with the recipe that it was made by."""
    header = {"recipe": recipe.model_dump(mode="json"), "shape": list(shape), "classes": classes}
    write_arrays(path, "model", to_arrays(learned(network)), header)


def _weights(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> float:
    """Return how many weights a network has, or infinity if it cannot be built; nothing of its size is allocated."""
    try:
        with torch.device("meta"):
            network = build_network(recipe, shape, classes)
            return sum(part.numel() for part in (*network.parameters(), *network.buffers()))
    except (InputError, RuntimeError):
        return math.inf


def read_geometry(header: dict[str, Any], path: Path) -> tuple[Recipe, tuple[int, int, int], int]:
    """Return recipe, image shape and number of classes from a file's header.

    Raises:
        FileError: the header is not what :func:`save_network` writes.
    """
    try:
        channels, height, width = (int(size) for size in header["shape"])
        classes = int(header["classes"])
        recipe = parse_recipe(header["recipe"], str(path))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FileError(f"{path}: its header lacks recipe, shape or classes; write it again with 'train'") from error
    # Untrusted sizes are bounded before anything of that size is allocated.
    sizes = (classes, channels, height, width)
    possible = min(sizes) >= 1 and max(sizes) <= 2**14 and height * width <= 2**24
    if not possible or _weights(recipe, (channels, height, width), classes) > WEIGHT_LIMIT:
        raise FileError(f"{path}: impossible shape {header['shape']} or classes {classes}; the file is damaged")
    return recipe, (channels, height, width), classes


def load_network(path: Path) -> tuple[SpikingNetwork, Recipe]:
    """Return the float network in ``path``, in evaluation mode, with its recipe.

    Raises:
        FileError: missing, corrupt, foreign, or not matching its own recipe.
    """
    arrays, header = read_arrays(path, "model")
    recipe, shape, classes = read_geometry(header, path)
    network = build_network(recipe, shape, classes)
    load_weights(network, to_tensors(arrays), path)
    return network.eval(), recipe


def save_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, header: dict[str, Any]) -> None:
    """Write what is needed to go on training: weights, the optimizer's moments, and ``header``."""
    tensors = {f"network/{name}": tensor for name, tensor in learned(network).items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer/{index}/{name}"] = torch.as_tensor(value)
    write_arrays(path, "training-state", to_arrays(tensors), header)


def load_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore what :func:`save_state` wrote and return its header.

    Raises:
        FileError: missing, corrupt, foreign, or of another network.
    """
    arrays, header = read_arrays(path, "training-state")
    tensors = to_tensors(arrays)
    weights = {name.removeprefix("network/"): t for name, t in tensors.items() if name.startswith("network/")}
    load_weights(network, weights, path)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/", 2)
            if not index.isdecimal() or int(index) >= len(parameters):
                raise FileError(f"{path}: {name!r} does not belong to this optimizer; delete the file to start over")
            moments.setdefault(int(index), {})[key] = tensor
    for number, parameter in enumerate(parameters):
        shapes = {key: tuple(tensor.shape) for key, tensor in moments.get(number, {}).items()}
        expected = {"step": (), "exp_avg": tuple(parameter.shape), "exp_avg_sq": tuple(parameter.shape)}
        if shapes != expected or not all(bool(torch.isfinite(tensor).all()) for tensor in moments[number].values()):
            raise FileError(
                f"{path}: the optimizer's state of weight {number} is damaged; delete the file to start over"
            )
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return header
