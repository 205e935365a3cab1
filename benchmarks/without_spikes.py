"""What simple methods reach where a spiking network is measured: python benchmarks/without_spikes.py upscaling|graphs.

``upscaling``: linear filters of several sizes, fitted to CIFAR-10's exact subset by least squares, on whole pictures of
Set5. ``graphs``: logistic regression on what the host sends of a node, on the sum over its neighbourhood, on words
alone, and on features averaged twice (SGC, arXiv 1902.07153); strength of the penalty chosen on validation nodes, where
a graph has none on training nodes. Writes benchmarks/without-spikes-*.json under --out (runs/benchmarks).
"""

import sys
from typing import Any

import given_out
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from spikeproof.eval.measure.qualities import ssim
from spikeproof.eval.records.base import header, share, write_record
from spikeproof.eval.records.benchmark import Benchmark
from spikeproof.toolkit.data import digits_graph, planetoid
from spikeproof.toolkit.data.cifar import NAMES, subset_file, unzipped
from spikeproof.toolkit.data.graph import Graph
from spikeproof.toolkit.data.upscaled import Set5, bicubic, bytes_of, luma
from spikeproof.toolkit.task.regression import psnr

OUT = given_out.USUAL / "benchmarks"
SIZES = (5, 9, 13)
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
LARGE = 32


def windows(small: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """Return what a filter sees around each pixel of images (samples, rows, columns), and 1: (..., size^2 + 1)."""
    reach = size // 2
    padded = np.pad(small / 255, ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
    seen = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    flat = seen.reshape(*seen.shape[:3], -1)
    return np.concatenate([flat, np.ones((*flat.shape[:3], 1))], -1)


def fitted(small: NDArray[np.uint8], large: NDArray[np.uint8], scale: int, size: int) -> NDArray[np.float64]:
    """Return the least-squares filters of the scale^2 pixels of a block, (size^2 + 1, scale^2), of whole windows."""
    count, rows = len(small), small.shape[1]
    inside = slice(min(size // 2, rows // 2 - 1), rows - min(size // 2, rows // 2 - 1))
    squares, products = np.zeros((size**2 + 1,) * 2), np.zeros((size**2 + 1, scale**2))
    for start in range(0, count, 300):
        seen = windows(small[start : start + 300], size)[:, inside, inside].reshape(-1, size**2 + 1)
        blocks = (large[start : start + 300] / 255).reshape(-1, rows, scale, rows, scale).transpose(0, 1, 3, 2, 4)
        squares += seen.T @ seen
        products += seen.T @ blocks[:, inside, inside].reshape(-1, scale**2)
    found: NDArray[np.float64] = np.linalg.solve(squares + 1e-6 * np.eye(len(squares)), products)
    return found


def enlarged(small: NDArray[np.uint8], filters: NDArray[np.float64], scale: int, size: int) -> NDArray[np.float64]:
    """Return a picture (rows, columns) made large by filters."""
    rows, columns = small.shape
    blocks = (windows(small[None], size)[0] @ filters).reshape(rows, columns, scale, scale)
    return 255 * blocks.transpose(0, 2, 1, 3).reshape(rows * scale, columns * scale)


def quality(made: NDArray[Any], meant: NDArray[np.uint8], border: int) -> dict[str, float]:
    """Return PSNR and SSIM of a picture of 8 bits without its border."""
    a, b = (one[border:-border, border:-border] / 255 for one in (bytes_of(made), meant))
    return {"PSNR": float(psnr(np.asarray(((a - b) ** 2).mean()))), "SSIM": ssim(a, b)}


def upscaling() -> list[dict[str, Any]]:
    """Return PSNR and SSIM, means of the five pictures, of bicubic enlargement and of each filter."""
    path, content = subset_file(None)
    large = luma(unzipped(path, content, NAMES)[0])
    rows = []
    for scale in (2, 4):
        small = bytes_of(bicubic(large, LARGE // scale, LARGE // scale))
        meant, given = {}, {}
        for name, picture in Set5(None, scale).pictures().items():
            height, width = (length - length % scale for length in picture.shape)
            meant[name] = picture[:height, :width]
            given[name] = bytes_of(bicubic(meant[name][None], height // scale, width // scale))[0]
        made: dict[str, dict[str, NDArray[Any]]] = {
            "bicubic": {name: bicubic(given[name][None], *whole.shape)[0] for name, whole in meant.items()}
        }
        for size in SIZES:
            filters = fitted(small, large, scale, size)
            made[f"linear, {size} x {size}"] = {
                name: enlarged(one, filters, scale, size) for name, one in given.items()
            }
        for method, pictures in made.items():
            found = [quality(pictures[name], whole, scale) for name, whole in meant.items()]
            means = {key: float(np.mean([one[key] for one in found])) for key in ("PSNR", "SSIM")}
            rows.append({"scale": scale, "method": method, **means})
    return rows


def logistic(features: Any, graph: Graph) -> dict[str, Any]:
    """Return the test accuracy of logistic regression, and the penalty that was chosen."""
    chosen = graph.validation if len(graph.validation) else graph.train
    best = max(
        (float(_fit(features, graph, penalty).score(features[chosen], graph.labels[chosen])), -penalty)
        for penalty in PENALTIES
    )
    model = _fit(features, graph, -best[1])
    right = np.asarray(model.predict(features[graph.test]) == graph.labels[graph.test])
    return {"C": -best[1], "accuracy": share(right).model_dump()}


def _fit(features: Any, graph: Graph, penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, max_iter=5000).fit(features[graph.train], graph.labels[graph.train])


def graphs() -> list[dict[str, Any]]:
    """Return the accuracy of logistic regression on several features of each graph."""
    rows = []
    for name, graph in (("cora", planetoid.Cora().graph()), ("digits-graph", digits_graph.DigitsGraph().graph())):
        adjacency, means = graph.adjacency(), graph.means()
        degrees = np.asarray(adjacency.sum(1)).ravel()
        sums = adjacency @ means
        lengths = np.maximum(graph.features.sum(1, keepdims=True), 1e-12)
        root = 1 / np.sqrt(degrees)[:, None]

        def spread(x: NDArray[Any], near: Any = adjacency, root: NDArray[Any] = root) -> NDArray[Any]:
            return np.asarray(root * (near @ (root * x)))

        inputs = {
            "features alone": graph.features,
            "messages of the node's own slot": means,
            "messages, summed over all slots": np.asarray(sums),
            "features averaged twice (SGC)": spread(spread(graph.features / lengths)),
        }
        rows += [{"graph": name, "input": what, **logistic(x, graph)} for what, x in inputs.items()]
    return rows


def main(what: str) -> None:
    rows = {"upscaling": upscaling, "graphs": graphs}[what]()
    about = header(f"without-spikes-{what}", f"python benchmarks/without_spikes.py {what}")
    OUT.mkdir(parents=True, exist_ok=True)
    write_record(OUT / f"without-spikes-{what}.json", Benchmark.model_validate({**about, "rows": rows}))
    for row in rows:
        print(row)


if __name__ == "__main__":
    OUT = given_out.out("benchmarks")
    if sys.argv[1:] not in (["upscaling"], ["graphs"]):
        sys.exit(__doc__)
    main(sys.argv[1])
