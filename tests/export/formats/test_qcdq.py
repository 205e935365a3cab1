"""Brevitas' QCDQ ONNX of whole spiking networks: in ONNX Runtime it answers as the quantized network in PyTorch."""

import copy
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from spikeproof.export.formats.qcdq import TOLERANCE, check_qcdq, write_qcdq
from spikeproof.toolkit.config import DataSettings, ModelSettings
from spikeproof.toolkit.data import load_data
from spikeproof.toolkit.errors import DisagreementError, FileError
from spikeproof.toolkit.models import conv_network, delayed_network, recurrent_network, sew_network
from spikeproof.toolkit.network.network import SpikingNetwork
from spikeproof.toolkit.network.neurons import LIF
from spikeproof.toolkit.quantize import quantized_network

STEPS, BITS = 4, 6
NETWORKS = {
    "max pooling": (conv_network, {"pool": "max", "channels": [4, 8]}),
    "average pooling": (conv_network, {"pool": "avg", "channels": [4, 8]}),
    "SEW-ResNet": (sew_network, {"channels": [4, 8]}),
    "recurrent": (recurrent_network, {"channels": [4]}),
    "delayed": (delayed_network, {"channels": [8]}),
}
DATA = load_data(DataSettings(test_samples=200))


@pytest.fixture(scope="module", params=NETWORKS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SpikingNetwork]:
    """A quantized network that fires, and its file."""
    make, options = NETWORKS[request.param]
    torch.manual_seed(0)
    network = make(ModelSettings(threshold=0.3, **options), STEPS, DATA.shape, DATA.classes).eval()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                layer.weight *= 2
    quantized = quantized_network(network, BITS)
    path = tmp_path_factory.mktemp("qcdq") / "network-qcdq.onnx"
    write_qcdq(path, quantized, DATA.shape)
    return path, quantized


def test_logits_are_those_of_pytorch(written: tuple[Path, SpikingNetwork]) -> None:
    path, network = written
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(torch.from_numpy(DATA.test_images)).numpy()
    assert len(np.unique(expected.argmax(1))) > 1, "a network that always says the same proves nothing"
    # Traced with one image, run with many, and with none of the shapes fixed by the trace.
    found = np.concatenate(
        [session.run(["logits"], {"images": DATA.test_images[part]})[0] for part in (slice(0, 7), slice(7, None))]
    )
    assert np.abs(found - expected).max() <= TOLERANCE
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    agreement = check_qcdq(path, network, DATA.test_images)
    assert (agreement.samples, agreement.same_logits, agreement.same_classes) == (200, 200, 200)
    assert agreement.largest == pytest.approx(np.abs(found - expected).max(), abs=TOLERANCE)


def test_file_is_standard_onnx_with_integer_weights(written: tuple[Path, SpikingNetwork]) -> None:
    path, network = written
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {node.domain for node in model.graph.node} == {""}
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["Greater"] >= STEPS
    assert operators["DequantizeLinear"]
    assert [value.name for value in model.graph.input] == ["images"]
    layers = [layer for _, layer in network.named_layers() if hasattr(layer, "quant_weight")]
    tensors = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    weights = [array for array in tensors if array.dtype == np.int8 and array.ndim > 1]
    assert len(weights) == len(layers)
    for layer in layers:
        codes = layer.quant_weight().int().numpy()
        assert any(array.shape == codes.shape and (array == codes).all() for array in weights)
        assert np.abs(codes).max() <= 2 ** (BITS - 1)
    assert str(Path.cwd()).encode() not in path.read_bytes()


def test_network_is_left_as_it_was(written: tuple[Path, SpikingNetwork]) -> None:
    path, network = written
    other = copy.deepcopy(network)
    write_qcdq(path.with_name("again.onnx"), network, DATA.shape)
    x = torch.from_numpy(DATA.test_images[:8])
    with torch.no_grad():
        assert torch.equal(network(x), other(x))
    assert [type(part) for part in network.modules()] == [type(part) for part in other.modules()]
    assert path.with_name("again.onnx").read_bytes() == path.read_bytes()


def small(bias: float) -> SpikingNetwork:
    torch.manual_seed(0)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        flatten=nn.Flatten(), linear=nn.Linear(64, 10), lif=LIF(0.5, 0.3, 2.0)
    )
    network = quantized_network(SpikingNetwork(layers, STEPS, 10.0).eval(), 8)
    with torch.no_grad():
        dict(network.named_layers())["linear"].bias += bias  # type: ignore[assignment]
    return network


def test_file_of_another_network_is_found_out(tmp_path: Path) -> None:
    write_qcdq(tmp_path / "q.onnx", small(0.0), DATA.shape)
    assert check_qcdq(tmp_path / "q.onnx", small(0.0), DATA.test_images).same_logits == 200
    with pytest.raises(DisagreementError, match=r"q\.onnx: in ONNX Runtime \d+ of 200 images get other logits"):
        check_qcdq(tmp_path / "q.onnx", small(0.05), DATA.test_images)
    with pytest.raises(FileError, match=r"absent\.onnx"):
        check_qcdq(tmp_path / "absent.onnx", small(0.0), DATA.test_images)
