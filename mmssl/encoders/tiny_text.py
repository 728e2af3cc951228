"""A text tower that is built in a millisecond, with a vocabulary of hashed words; for tests and first runs."""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from mmssl.types import Encoded, Tokens

PADDING, START, FIRST_WORD = 0, 1, 2
HEADS = 2
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Tokenizer:
    """Words, lower-cased, as CRC-32 modulo the vocabulary: the same in every process, two words may share a number."""

    context_length: int
    vocabulary: int

    def __call__(self, texts: list[str]) -> Tokens:
        """[B, T] padded with 0 to the longest of the batch; a start token makes the empty text valid."""
        words = [[self._number(word) for word in WORD.findall(text.lower())] for text in texts]
        rows = [[START, *row][: self.context_length] for row in words]
        longest = max((len(row) for row in rows), default=1)
        ids = torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows], dtype=torch.long)
        return Tokens(ids.view(len(rows), longest), sum(len(row) >= self.context_length for row in words))

    def _number(self, word: str) -> int:
        return FIRST_WORD + zlib.crc32(word.encode()) % (self.vocabulary - FIRST_WORD)


class Encoder(nn.Module):
    """Word embeddings and a transformer of `depth` layers, the mean over the words.

    Args:
        width: Channels, a multiple of two.
        depth: Layers.
        vocabulary: Numbers that words are hashed to.
        context_length: Longest text in tokens.
        files: Not needed; there are no files.
    """

    tower: Literal["text"] = "text"

    def __init__(
        self,
        *,
        width: Annotated[int, Ge(HEADS)] = 64,
        depth: Annotated[int, Ge(1)] = 1,
        vocabulary: Annotated[int, Ge(8)] = 2048,
        context_length: Annotated[int, Ge(2)] = 64,
        files: Path | None = None,
    ) -> None:
        super().__init__()
        self.width, self.context_length, self.padding = width, context_length, PADDING
        self.tokenizer = Tokenizer(context_length, vocabulary)
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(context_length, width) * 0.02)
        self.layers = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embedding.weight, std=0.5)

    def forward(self, tokens: Tensor) -> Encoded:
        """`tokens` [B, T]; padding neither is attended to nor enters the mean."""
        real = tokens != PADDING  # [B, T]
        x = self.embedding(tokens) + self.position[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, real)
        x = self.norm(x)
        weight = real[:, :, None].to(x.dtype)
        return Encoded((x * weight).sum(1) / weight.sum(1).clamp(min=1), x)

    def blocks(self) -> list[nn.Module]:
        *first, last = self.layers
        embedding = nn.ModuleList([self.embedding, nn.ParameterList([self.position])])
        return [embedding, *first, nn.ModuleList([last, self.norm])]

    def save_files(self, folder: Path) -> None:
        """Nothing to write: the config says all."""


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """`x` [B, T, C], `real` [B, T] where there is a word."""
        query, key, value = self.into(self.norm1(x)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=real[:, None, None, :])  # [B, heads, T, C']
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))
