"""Brevitas' own QCDQ form of the quantized network, for the ordinary ONNX ecosystem: float, not Loihi's integers.

Weights are int8 behind ``DequantizeLinear``; spikes are ``Greater`` and ``Cast``; time is unrolled. It computes what
the quantized network computes in PyTorch. What the chip computes is in the other file, see :mod:`.onnx`.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...toolkit.coding import Direct
from ...toolkit.errors import DisagreementError, UnsupportedError
from ...toolkit.extras import extra
from ...toolkit.files import atomic, read_bytes
from ...toolkit.network.layers import Scanned
from ...toolkit.network.network import INPUT, SpikingNetwork, received

with extra("onnx"):
    import onnx
    import onnxruntime

with extra("train"), warnings.catch_warnings():
    # Brevitas warns of optional packages that nothing here uses.
    warnings.simplefilter("ignore")
    from brevitas.export import export_onnx_qcdq

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference of a logit that rounding explains; one spike more or less is gain / steps."""
SHARE = 0.02
"""Largest share of images with another spike somewhere: both sides add floats, each in its own order."""


class _Unrolled(nn.Module):
    """The network step by step, so that no shape depends on the batch that it is traced with."""

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        network = self.network
        if network.recurrent:
            # It runs step by step by itself, and knows what its loops deliver at the first step.
            logits: Tensor = network(inputs) if shows_images(network) else network.from_encoded(inputs)
            return logits
        frames = [inputs] * network.steps if shows_images(network) else inputs.unbind(0)
        run = {n: part.stepper() if isinstance(part, Scanned) else part for n, part in network.named_layers()}
        layers = dict(network.named_layers())
        last = []
        for frame in frames:
            sent = {INPUT: frame}
            for name, step in run.items():
                parts = [sent[source] for source in network.sources(name)]
                sent[name] = step(*received(layers[name], parts))
            last.append(sent[name])
        return network.logits(torch.stack(last))


def shows_images(network: SpikingNetwork) -> bool:
    """Return whether the file takes images; else encoded input, since only direct coding is made of operators."""
    return isinstance(network.coder, Direct)


def write_qcdq(path: Path, network: SpikingNetwork, shape: tuple[int, int, int]) -> None:
    """Write a quantized network as QCDQ ONNX: ``images`` (batch, *shape) in [0, 1] to ``logits`` (batch, classes).

    Coders other than the direct one are not part of it: ``encoded`` (time, batch, ...) takes the place of ``images``.

    The file is written by Brevitas' exporter and passes ``onnx.checker``; it holds standard operators alone.

    Args:
        path: where to; replaced atomically.
        network: from :func:`.quantize.quantized_network`; it is not changed.
        shape: (channels, height, width) of an image.

    Raises:
        UnsupportedError: a layer that PyTorch or Brevitas cannot export.
        FileError: it cannot be written.
    """
    # Brevitas leaves its export handlers in what it exports.
    module = _Unrolled(copy.deepcopy(network)).eval()
    name, axis = ("images", 0) if shows_images(network) else ("encoded", 1)
    example = torch.zeros(1, *network.coder.encoded_shape(shape))
    with atomic(path) as temporary:
        try:
            # The exporter by tracing: the newer one unrolls the same, but needs onnxscript and takes ten times as long.
            export_onnx_qcdq(
                module,
                args=example if axis == 0 else example.expand(network.steps, *example.shape),
                export_path=str(temporary),
                opset_version=OPSET,
                dynamo=False,
                input_names=[name],
                output_names=["logits"],
                dynamic_axes={name: {axis: "batch"}, "logits": {0: "batch"}},
                keep_initializers_as_inputs=False,
            )
            onnx.checker.check_model(onnx.load(str(temporary)), full_check=True)
        except ModuleNotFoundError as error:
            raise UnsupportedError(f"QCDQ: {error}") from error
        except (RuntimeError, torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError) as error:
            raise UnsupportedError(
                f"{path}: this network has no QCDQ form ({type(error).__name__}: {error})"
            ) from error


@dataclass(frozen=True)
class Agreement:
    """A QCDQ file in ONNX Runtime against the network in PyTorch.

    Attributes:
        samples: images.
        same_logits: images whose logits all differ by 1e-4 at most.
        same_classes: images with the same class.
        largest: largest difference of a logit among the same.
    """

    samples: int
    same_logits: int
    same_classes: int
    largest: float


def open_qcdq(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return what a file that :func:`write_qcdq` wrote gives in ONNX Runtime: from its input to logits.

    Raises:
        FileError: the file is missing.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(read_bytes(path), options, providers=["CPUExecutionProvider"])
    (name,) = (entry.name for entry in session.get_inputs())

    def run(given: NDArray[np.float32]) -> NDArray[np.float32]:
        (found,) = session.run(["logits"], {name: given})
        return np.asarray(found)

    return run


def operators(path: Path) -> dict[str, int]:
    """Return how many operators of each kind ONNX Runtime makes of a file on this processor: QLinear... are integer."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(read_bytes(path), options, providers=["CPUExecutionProvider"])
        kinds = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    return dict(sorted(kinds.items()))


@torch.no_grad()
def check_qcdq(path: Path, network: SpikingNetwork, images: NDArray[np.float32]) -> Agreement:
    """Run a file that :func:`write_qcdq` wrote in ONNX Runtime and compare its logits with the network's.

    Args:
        path: the file.
        network: that it was written from.
        images: (batch, channels, height, width).

    Raises:
        DisagreementError: the logits of more than one image in 50 differ by more than 1e-4.
        FileError: the file is missing.
    """
    run = open_qcdq(path)
    given = torch.from_numpy(np.array(images, dtype=np.float32))
    given = given if shows_images(network) else network.coder.encode(given)
    found = run(given.contiguous().numpy())
    expected = (network(given) if shows_images(network) else network.from_encoded(given)).numpy()
    distance = np.abs(found - expected).max(1)
    same = distance <= TOLERANCE
    if (~same).mean() > SHARE:
        raise DisagreementError(
            f"{path}: in ONNX Runtime {int((~same).sum())} of {len(same)} images get other logits than in PyTorch, "
            f"by up to {distance.max():g}"
        )
    return Agreement(
        len(same),
        int(same.sum()),
        int((found.argmax(1) == expected.argmax(1)).sum()),
        float(distance[same].max(initial=0.0)),
    )
