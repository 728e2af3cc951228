"""An image tower that is built in a millisecond, for tests and first runs; no batch statistics."""

from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from mmssl.types import Encoded

GROUPS = 4


class Encoder(nn.Module):
    """A patch convolution and `depth` residual convolutions, each at half the resolution of the one before.

    Args:
        width: Channels, a multiple of four.
        depth: Blocks after the stem.
        image_size: Side of the square image in pixels.
    """

    tower: Literal["image"] = "image"
    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)

    def __init__(
        self, *, width: Annotated[int, Ge(GROUPS)] = 64, depth: Annotated[int, Ge(1)] = 2, image_size: int = 64
    ) -> None:
        super().__init__()
        self.width, self.image_size = width, image_size
        self.stem = nn.Conv2d(3, width, kernel_size=4, stride=4)
        self.layers = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.GroupNorm(GROUPS, width)

    def forward(self, x: Tensor) -> Encoded:
        """`x` [B, 3, H, W], normalised; tokens are the places of the last feature map."""
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # [B, T, C]
        return Encoded(tokens.mean(1), tokens)

    def blocks(self) -> list[nn.Module]:
        *first, last = self.layers
        return [self.stem, *first, nn.ModuleList([last, self.norm])]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.conv = nn.Conv2d(width, width, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x + self.conv(F.gelu(self.norm(x))), 2, ceil_mode=True)
