"""Self-similarity attention of SpikeSR: each patch looks at the patch most like it (arXiv 2503.04223, DSA)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .attention import Attention

PATCH = 16
"""Pixels of a patch in each direction, at the finer level."""
QUERY, HIDDEN = 24, 72
"""Features that are compared, and of the perceptron behind: those of the paper's smallest network."""
TAPS = 9
"""Places that a deformable convolution of 3 x 3 reads."""


def patches_of(x: Tensor, size: int) -> Tensor:
    """Return the patches (images, patches, channels, size, size) of images (images, channels, height, width)."""
    count, channels, height, width = x.shape
    parts = x.reshape(count, channels, height // size, size, width // size, size)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels, size, size)


def joined(patches: Tensor, height: int, width: int) -> Tensor:
    """Return the images (images, channels, height, width) of which :func:`patches_of` made ``patches``."""
    count, _, channels, size, _ = patches.shape
    parts = patches.reshape(count, height // size, width // size, channels, size, size)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, height, width)


class Deformable(nn.Module):
    """A convolution of 3 x 3 that reads where it wants: y(p) = sum_k W_k x(p + k + o_k(p)) (Dai et al. 2017).

    The offsets o are a convolution of x, 0 before training; between pixels is interpolated, outside is 0.

    Args:
        channels: of its input and its output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(channels, 2 * TAPS, 3, padding=1)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)  # type: ignore[arg-type]
        self.weights = nn.Conv2d(channels * TAPS, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, channels, height, width) for features of that shape."""
        count, channels, height, width = x.shape
        moved = self.offsets(x).reshape(count, TAPS, 2, height, width)
        rows, columns = (torch.arange(size, device=x.device, dtype=x.dtype) for size in (height, width))
        tap = torch.arange(TAPS, device=x.device)
        row = rows[:, None] + (tap // 3 - 1)[:, None, None] + moved[:, :, 0]
        column = columns + (tap % 3 - 1)[:, None, None] + moved[:, :, 1]
        # What grid_sample takes: -1 is the middle of the first pixel, 1 that of the last.
        grid = torch.stack([2 * column / max(width - 1, 1) - 1, 2 * row / max(height - 1, 1) - 1], dim=-1)
        read = functional.grid_sample(
            x[:, None].expand(-1, TAPS, -1, -1, -1).reshape(-1, channels, height, width),
            grid.reshape(-1, height, width, 2),
            padding_mode="zeros",
            align_corners=True,
        )
        found: Tensor = self.weights(read.reshape(count, TAPS * channels, height, width))
        return found


class _Level(nn.Module):
    """One size of patches: y = z + mlp(z), z = x + attention(deformed match of x, x)."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.deform = Deformable(channels)
        self.query = nn.Linear(channels, QUERY)
        self.key = nn.Linear(channels, QUERY, bias=False)
        self.value = nn.Linear(channels, channels)
        self.perceptron = nn.Sequential(nn.Linear(channels, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, channels))

    def chosen(self, patches: Tensor) -> Tensor:
        """Return (images, patches, patches): 1 where the second is the one most like the first, which is never itself.

        By the cosine of the patches' means. While training, Gumbel noise gives others a chance; gradients are those of
        the softmax.
        """
        means = functional.normalize(patches.mean((3, 4)), dim=2)
        alike = means @ means.transpose(1, 2)
        itself = torch.eye(alike.shape[1], dtype=torch.bool, device=alike.device)
        alike = alike.masked_fill(itself, -torch.inf)
        if self.training:
            return functional.gumbel_softmax(alike, hard=True, dim=2)
        soft = alike.softmax(2)
        hard = functional.one_hot(alike.argmax(2), alike.shape[2]).to(soft)
        return hard + soft - soft.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, channels, height, width) for features of that shape."""
        count, channels, height, width = x.shape
        patches = patches_of(x, self.size)
        matches = torch.einsum("npq,nqcij->npcij", self.chosen(patches), patches)
        deformed = self.deform(matches.flatten(0, 1))
        own, other = (part.flatten(2).transpose(1, 2) for part in (patches.flatten(0, 1), deformed))
        seen = own + functional.scaled_dot_product_attention(self.query(other), self.key(own), self.value(own))
        mixed: Tensor = seen + self.perceptron(seen)
        return joined(mixed.transpose(1, 2).reshape(count, -1, channels, self.size, self.size), height, width)


class DSA(Attention):
    """Deformable self-similarity attention, of patches of 16 x 16 pixels and, at half the size, of 8 x 8, added.

    Args:
        channels: of the features.
        height: of the features, a multiple of 16.
        width: likewise; there are at least two patches.

    Raises:
        InputError: the features are smaller, or no multiple.
    """

    what = "self-similarity attention"

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        if height % PATCH or width % PATCH or min(height, width) < 2 * PATCH:
            raise InputError(
                f'model.attention = "dsa" compares patches of {PATCH} x {PATCH} pixels, so images are at least '
                f"{2 * PATCH} x {2 * PATCH} and a multiple of {PATCH}, not {height} x {width}; "
                'use "hda", or larger images'
            )
        self.fine, self.coarse = _Level(channels, PATCH), _Level(channels, PATCH // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (time, batch, channels, height, width) for features of that shape; steps do not see each other."""
        flat = x.flatten(0, 1)
        coarse = self.coarse(functional.avg_pool2d(flat, 2))
        large = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        found: Tensor = self.fine(flat) + large
        return found.reshape(x.shape)


class Both(Attention):
    """Both attentions of the paper: y = GELU(HDA(x) + DSA(x)).

    Args:
        hybrid: of time and channels.
        similar: of patches.
    """

    what = "attention"

    def __init__(self, hybrid: nn.Module, similar: DSA) -> None:
        super().__init__()
        self.hybrid, self.similar = hybrid, similar

    def forward(self, x: Tensor) -> Tensor:
        """Return (time, batch, channels, height, width) for features of that shape."""
        return functional.gelu(self.hybrid(x) + self.similar(x))
