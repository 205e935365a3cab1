"""LFM: local feature masking."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..errors import InputError
from .base import Batch, Defence, Gradients

AREA, ASPECT, TRIES = (0.02, 0.4), (0.3, 3.33), 100


def masks(samples: int, shape: tuple[int, int, int], probability: float, share: float, rows: bool) -> Tensor:
    """Draw which features are overwritten, and with what: NaN where nothing is, (samples, channels, height, width).

    A sample is masked with ``probability``; then ``share`` of its channels, each in one rectangle of area U(0.02, 0.4)
    and aspect U(0.3, 3.33), drawn until it fits, with one value U(0, 1); ``rows`` makes it as wide as the map.
    """
    channels, height, width = shape
    count = max(round(share * channels), 1)
    hit = torch.rand(samples, 1) < probability
    chosen = torch.zeros(samples, channels, dtype=torch.bool)
    chosen.scatter_(1, torch.rand(samples, channels).argsort(1)[:, :count], True)
    size = torch.zeros(2, samples, channels)
    todo = torch.ones(samples, channels, dtype=torch.bool)
    for _ in range(TRIES):
        area = height * width * torch.empty(samples, channels).uniform_(*AREA)
        aspect = torch.empty(samples, channels).uniform_(*ASPECT)
        drawn = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()]).round().clamp(min=1)
        fits = todo & (drawn[0] <= height) & (drawn[1] <= width)
        size = torch.where(fits, drawn, size)
        todo &= ~fits
        if not bool(todo.any()):
            break
    first = [
        ((limit - extent + 1) * torch.rand_like(extent)).floor() for limit, extent in zip(shape[1:], size, strict=True)
    ]
    inside = []
    for start, extent, limit in zip(first, size, shape[1:], strict=True):
        place = torch.arange(limit)
        inside.append((place >= start[..., None]) & (place < (start + extent)[..., None]))
    covered = inside[0][..., :, None] & (torch.ones_like(inside[1]) if rows else inside[1])[..., None, :]
    covered &= (hit & chosen & ~todo)[..., None, None]
    return torch.where(covered, torch.rand(samples, channels, 1, 1), torch.nan)


class LFM(Defence):
    """Local feature masking: random rectangles of a shallow feature map are overwritten in training.

    Of the map after the first convolution, c(t) <- u where a mask says so, with one u ~ U(0, 1) a rectangle; sample,
    channels and rectangle are random, and the same at every time step (a mask of its own a step would be noise).

    *Read* in notes and code: arXiv 2407.13646 (IJCNN 2024). The released code overwrites whole rows instead of
    rectangles and draws once for a batch; ``shape = "rows"`` has the former.

    Attributes:
        probability: that a sample is masked.
        channels: share of the channels.
        shape: "rectangles", or "rows" of full width.
    """

    name: Literal["lfm"] = "lfm"
    summary: ClassVar[str] = "local feature masking: overwrite rectangles of the first feature map"
    probability: Annotated[float, Field(ge=0.0, le=1.0)] = 0.15
    channels: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    shape: Literal["rectangles", "rows"] = "rectangles"

    def around(self, batch: Batch, gradients: Gradients) -> Tensor:
        """Mask the first convolution's output meanwhile, in every pass of the batch alike."""
        samples, drawn = len(batch.labels), None

        def mask(layer: nn.Module, inputs: Any, features: Tensor) -> Tensor:
            nonlocal drawn
            if drawn is None:
                channels, height, width = features.shape[1:]
                map_shape = (channels, height, width)
                drawn = masks(samples, map_shape, self.probability, self.channels, self.shape == "rows")
                drawn = drawn.to(features.device, features.dtype)
            by_step = features.unflatten(0, (-1, samples))
            return torch.where(drawn.isnan(), by_step, drawn).flatten(0, 1)

        stem = next((part for _, part in batch.network.named_layers() if isinstance(part, nn.Conv2d)), None)
        if stem is None:
            raise InputError("lfm: masks the map of the first convolution; the network has none")
        handle = stem.register_forward_hook(mask)
        try:
            return gradients()
        finally:
            handle.remove()
