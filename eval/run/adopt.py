"""The step ``adopt``: a run that begins with a network from elsewhere, in place of training one."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...export.nir.adopt import adopt_nir_proven
from ...toolkit.adopt import Adopted, adopt_module
from ...toolkit.checkpoint import load_network, save_network
from ...toolkit.coding import Direct, Events
from ...toolkit.config import Recipe, parse_recipe
from ...toolkit.data import Dataset, load_data
from ...toolkit.errors import DisagreementError, FileError, InputError
from ...toolkit.files import write_json
from ...toolkit.models.layers import described
from ...toolkit.network.network import SpikingNetwork
from ...toolkit.settings import DataSettings
from ..measure.adoption import adoption, frameworks
from ..records.adoption import Adoption
from ..records.base import command_line, header, write_record
from ..report.adoption import write_adoption
from .folder import Run

FILES = ("adoption.json", "adoption.html")


def load_module(source: str) -> nn.Module:
    """Return the module that a function of a Python file makes.

    Args:
        source: ``FILE.py:FUNCTION``; the file is run, as Python runs a script of yours.

    Raises:
        FileError: there is no such file.
        InputError: it fails, has no such function, or gives something else.
    """
    name, _, function = source.rpartition(":")
    path = Path(name)
    if not name or path.suffix != ".py" or not function.isidentifier():
        raise InputError(f"{source}: expected FILE.py:FUNCTION, a function that returns the module")
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(f"adopted_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Classes find their module by name, and a script its neighbours.
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
        made = getattr(module, function, None)
        if not callable(made):
            raise InputError(f"{path}: has no function {function!r}")
        model = made()
    except InputError:
        raise
    except Exception as error:  # it is somebody's program
        raise InputError(f"{source}: fails with {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    if not isinstance(model, nn.Module):
        raise InputError(f"{source}: returns a {type(model).__name__}, expected a torch module")
    return model


def recipe_of(network: SpikingNetwork, name: str, data: DataSettings, bits: int, epochs: int) -> Recipe:
    """Return the recipe of a run that begins with a network: its layers written out, and how it is quantized.

    Raises:
        UnsupportedError: a layer cannot be written into a recipe; by name.
    """
    values: dict[str, Any] = {
        "name": name,
        "data": data.model_dump(mode="json"),
        "coding": network.coder.settings,
        "model": {"kind": "layers", "layers": described(network), "gain": network.gain},
        "quantize": {"bits": bits, "epochs": epochs},
    }
    return parse_recipe(values, f"adopt {name}")


def begin(folder: Path, network: SpikingNetwork, recipe: Recipe, data: Dataset) -> Run:
    """Write a run folder whose network is given, not trained, and read it back.

    Raises:
        InputError: the folder holds another run.
        DisagreementError: what was read back answers otherwise.
    """
    run = Run.create(folder, recipe)
    path = run.path("model.safetensors")
    save_network(path, network, recipe, data.shape, data.classes)
    write_json(run.path("training.json"), [])
    images = torch.from_numpy(data.test_images[:4])
    again = load_network(path)[0]
    first, second = (one(images) for one in (network, again))
    if not bool((first == second).all()):
        raise DisagreementError(f"{path}: read back, it answers otherwise; please report this")
    return run


def adopt(
    folder: Path,
    source: str,
    settings: DataSettings,
    *,
    steps: int | None = None,
    time: int | None = None,
    output: int | None = None,
    flat: bool = False,
    samples: int = 64,
    bits: int = 8,
    epochs: int = 5,
    **origin: Any,
) -> Adoption:
    """Adopt a module or a NIR file into a run folder: recipe.json, model.safetensors, adoption.json and adoption.html.

    Args:
        folder: of the run.
        source: ``FILE.py:FUNCTION``, or a NIR file.
        settings: the data that the run is measured on.
        steps: time steps, where one call of the model is one, or where it takes images repeated along axis 0.
        time: the axis of time in what the model takes, 0 or 1; for events only.
        output: index of the output that holds the logits or spikes.
        flat: the model takes rows of features.
        samples: test images of the proof.
        bits: a weight, of ``quantize``.
        epochs: of fine-tuning, of ``quantize``.
        origin: what is known of a NIR file beyond itself: ``origin``, ``dt``, ``reset``, ``one_spike``, ``unscaled``,
            ``start``, ``port``.

    Raises:
        InputError: the source, the data or an option is refused.
        UnsupportedError: something in the model has no form here; it is named.
        DisagreementError: the adopted network gives other spikes; the first one is named.
    """
    told = {name: value for name, value in origin.items() if value}
    file = Path(source)
    if file.suffix == ".nir":
        data = load_data(settings, steps)
        found = _of_file(file, data, samples, steps, time, told)
        framework, name = f"NIR, {origin.get('origin') or 'nir'}", file.stem
    else:
        if told:
            raise InputError(f"{source}: {', '.join(told)} belong to NIR files; a module says for itself what it means")
        model = load_module(source).eval()
        data = load_data(settings, steps)
        asked_steps = None if time is not None else steps
        found = adopt_module(model, _sample(data, samples, time, flat), steps=asked_steps, time=time, output=output)
        framework, name = frameworks(model), Path(source.rpartition(":")[0]).stem
    recipe = recipe_of(found.network, name, settings, bits, epochs)
    run = begin(folder, found.network, recipe, data)
    asked = {"steps": steps, "time": time, "output": output, "flat": flat, "samples": samples}
    asked |= {"bits": bits, "epochs": epochs, **told}
    place = Path(settings.path).name if settings.name == "arrays" and settings.path else settings.name
    words = command_line(
        "adopt",
        file.name,
        data=place,
        **asked,
        out="DIR",
    )
    about = header(recipe.name, words, data=data, recipe=recipe)
    record = adoption(_on(found, data), file.name, framework, about, data.test_labels[: len(found.images)])
    write_record(run.path(FILES[0]), record)
    write_adoption(run.path(FILES[1]), record)
    run.finished("train", list(FILES))
    return record


def _of_file(
    file: Path, data: Dataset, samples: int, steps: int | None, time: int | None, told: dict[str, Any]
) -> Adopted:
    """Return the network of a NIR file, compared with its equations on test images."""
    if time is not None:
        raise InputError(f"{file}: --time belongs to modules; events are taken as they are")
    events = data.kind == "events"
    if not events and steps is None:
        raise InputError(f"{file}: say how many time steps an image is shown with --steps")
    images = data.test_images[:samples]
    coder = Events(images.shape[1]) if events else Direct(steps or 1)
    others = {name: value for name, value in told.items() if name != "origin"}
    return adopt_nir_proven(file, images, coder, told.get("origin", "nir"), **others)


def _on(found: Adopted, data: Dataset) -> Adopted:
    """Return what was adopted, with the samples in the shape of the data."""
    shape = (*found.images.shape[: found.images.dim() - 3], *data.shape)
    found.images = found.images.reshape(shape)
    return found


def _sample(data: Dataset, samples: int, time: int | None, flat: bool) -> Any:
    images = data.test_images[:samples]
    if data.kind == "events" and time is None:
        raise InputError(f"data set {data.name!r} holds events: say which axis of the input is time, --time 0|1")
    if data.kind != "events" and time is not None:
        raise InputError(f"data set {data.name!r} holds images, without an axis of time; leave --time out")
    whole = images.shape[: images.ndim - 3]
    images = images.reshape(*whole, -1) if flat else images
    return np.ascontiguousarray(images.swapaxes(0, 1)) if time == 0 else images
