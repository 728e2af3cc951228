"""open_clip's own text towers, without their last projection: that is the joint space's."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from annotated_types import Ge
from torch import Tensor, nn

from mmssl import weights
from mmssl.errors import WrongUse, meant
from mmssl.types import Encoded, Tokens

VOCABULARY = 49408
"""Of CLIP's tokenizer, which open_clip carries."""


@functools.cache
def _byte_pairs() -> Any:
    """CLIP's tokenizer; its tables are built once in a process and never pickled."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def encode(text: str) -> list[int]:
    """The tokens of `SimpleTokenizer.encode`, in a quarter of the time."""
    return [token for word in _byte_pairs().pat.findall(cleaned(text)) for token in _of_word(word)]


@functools.lru_cache(maxsize=100_000)
def _of_word(word: str) -> tuple[int, ...]:
    """A word's tokens; the same few thousand words come again and again."""
    clip = _byte_pairs()
    letters = "".join(clip.byte_encoder[byte] for byte in word.encode("utf-8"))
    return tuple(clip.encoder[part] for part in clip.bpe(letters).split(" "))


def cleaned(text: str) -> str:
    """What CLIP's tokenizer makes of a text first: entities and mangled letters mended, white space, lower case."""
    if text.isascii() and "&" not in text and text.replace("\n", " ").isprintable():  # nothing to be mended
        return " ".join(text.split()).lower()
    return _byte_pairs().clean_fn(text)


@dataclass(frozen=True)
class Tokenizer:
    """The tokens of open_clip's `SimpleTokenizer`, cut to the longest of the batch where `fixed` is not set."""

    context_length: int
    fixed: bool

    def __call__(self, texts: list[str]) -> Tokens:
        """[B, T], start and end token around each text, padded with 0; a text that is too long keeps its end token."""
        clip = _byte_pairs()
        full = [[clip.sot_token_id, *encode(text), clip.eot_token_id] for text in texts]
        length = self.context_length
        rows = [row if len(row) <= length else [*row[: length - 1], clip.eot_token_id] for row in full]
        longest = length if self.fixed else max((len(row) for row in rows), default=2)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.long)
        return Tokens(ids.view(len(rows), longest), sum(len(row) > length for row in full))


@dataclass(frozen=True)
class HubTokenizer:
    """A tokenizer of transformers as open_clip uses it for SigLIP and its kin: always padded to the full length."""

    wrapped: Any
    """`open_clip.tokenizer.HFTokenizer`."""
    context_length: int

    def __call__(self, texts: list[str]) -> Tokens:
        ids = self.wrapped(texts) if texts else torch.zeros(0, self.context_length, dtype=torch.long)
        cleaned = [self.wrapped.clean_fn(text) for text in texts]
        lengths = [len(one) for one in self.wrapped.tokenizer(cleaned).input_ids] if texts else []
        return Tokens(ids, sum(length > self.context_length for length in lengths))


class Encoder(nn.Module):
    """`name: ViT-B-32` (the text tower of that config), or by its sizes (`width`, `heads`, `layers`).

    `text_projection` is left out: its transpose is `joint.text.weight`.

    Args:
        name: A config that `open_clip.list_models()` lists.
        width, heads, layers: Sizes, where there is no name.
        context_length: Longest text in tokens; None takes the config's, else 77.
        padding: `longest` pads to the longest text of the batch, which changes no embedding of a causal tower;
            `fixed` to the context length. Towers that look at their padding (SigLIP) are always `fixed`.
        quick_gelu: OpenAI's activation; None takes the config's. Weights trained with it need it.
        tokenizer: Folder or hub name of the tokenizer, where the config asks for another than CLIP's; None: as the
            config says.
        files: The folder that `save_files` wrote; only such a tokenizer is in it.

    Raises:
        WrongUse: when the name is unknown, or a tower of another kind.
    """

    tower: Literal["text"] = "text"
    trunk: Any

    def __init__(
        self,
        *,
        name: str | None = None,
        width: Annotated[int, Ge(8)] | None = None,
        heads: Annotated[int, Ge(1)] | None = None,
        layers: Annotated[int, Ge(1)] | None = None,
        context_length: Annotated[int, Ge(2)] | None = None,
        padding: Literal["longest", "fixed"] = "longest",
        quick_gelu: bool | None = None,
        tokenizer: str | None = None,
        files: Path | None = None,
    ) -> None:
        super().__init__()
        from open_clip.model import CLIPTextCfg, _build_text_tower

        sizes = {"width": width, "heads": heads, "layers": layers}
        model = _named(name, sizes) if name is not None else _sized(sizes)
        self.quick_gelu: bool = model.get("quick_gelu", False) if quick_gelu is None else quick_gelu
        longer = {"context_length": context_length} if context_length else {}
        self.config: dict[str, Any] = model["text_cfg"] | longer
        """`text_cfg` of an open_clip config."""
        built = CLIPTextCfg(**self.config)
        self.trunk = trunk = cast(Any, _build_text_tower(model["embed_dim"], built, self.quick_gelu))
        trunk.text_projection = None
        self.width, self.context_length = built.width, built.context_length
        fixed = padding == "fixed" or trunk.attn_mask is None or built.pool_type == "last"
        self.padding = None if fixed else 0
        self.files: dict[str, bytes] = {}
        """A tokenizer's own files by name, empty for CLIP's."""
        if built.hf_tokenizer_name is None and tokenizer is None:
            self.tokenizer: Tokenizer | HubTokenizer = Tokenizer(self.context_length, fixed)
        else:
            self.padding = None
            asked = tokenizer or f"{weights.HUB}{built.hf_tokenizer_name}"
            source = Path(files) if files is not None else _folder(asked)
            own = _hub_tokenizer(source, self.context_length, built.tokenizer_kwargs or {})
            self.tokenizer, self.files = own, _saved(own.wrapped)

    def forward(self, tokens: Tensor) -> Encoded:
        """`tokens` [B, T], T up to the context length."""
        trunk, length = self.trunk, tokens.shape[1]
        mask = None if trunk.attn_mask is None else trunk.attn_mask[:length, :length]
        x = trunk.token_embedding(tokens) + trunk.positional_embedding[:length]
        x = trunk.ln_final(trunk.transformer(x, attn_mask=mask))  # [B, T, C]
        return Encoded(_pool(x, tokens, trunk.pool_type, trunk.eos_id), x)

    def blocks(self) -> list[nn.Module]:
        """Words and positions first, the last norm with the last block."""
        *first, last = self.trunk.transformer.resblocks
        places = nn.ParameterList([self.trunk.positional_embedding])
        return [nn.ModuleList([self.trunk.token_embedding, places]), *first, nn.ModuleList([last, self.trunk.ln_final])]

    def save_files(self, folder: Path) -> None:
        """The tokenizer's files, where it is not CLIP's."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


def _pool(x: Tensor, tokens: Tensor, kind: str, end: int) -> Tensor:
    """`x` [B, T, C] to [B, C]; CLIP's end token has the highest number, so that its place is the largest token's."""
    from open_clip.transformer import text_global_pool

    return text_global_pool(x, tokens, kind, eos_token_id=end)


def _named(name: str, sizes: dict[str, int | None]) -> dict[str, Any]:
    import open_clip

    given = [key for key, value in sizes.items() if value is not None]
    if given:
        raise WrongUse(f"open_clip_text: name={name!r} already says {', '.join(given)}; give the name or the sizes")
    model = open_clip.get_model_config(name)
    if model is None:
        near = meant(name, open_clip.list_models())
        raise WrongUse(f"open_clip has no model config {name!r}{near}; `open_clip.list_models()` lists them")
    text = model["text_cfg"]
    if text.get("hf_model_name"):
        raise WrongUse(
            f"the text tower of {name!r} is transformers': write kind: hf_text, name: hf-hub:{text['hf_model_name']}"
        )
    if text.get("embed_cls"):
        raise WrongUse(f"the text tower of {name!r} is CoCa's, with a class token of its own; choose another")
    return model


def _sized(sizes: dict[str, int | None]) -> dict[str, Any]:
    missing = [key for key, value in sizes.items() if value is None]
    if missing:
        raise WrongUse(f"open_clip_text needs a name (say ViT-B-32) or all sizes; {', '.join(missing)} not given")
    width, heads = sizes["width"], sizes["heads"]
    assert width is not None
    assert heads is not None
    if width % heads:
        raise WrongUse(f"open_clip_text: width {width} is no multiple of heads {heads}")
    return {"embed_dim": width, "text_cfg": {"context_length": 77, "vocab_size": VOCABULARY, **sizes}}


def _folder(name: str) -> Path:
    found = weights.find(name, plain_hub=True)
    return found.path if found.path.is_dir() else found.path.parent


def _hub_tokenizer(folder: Path, context_length: int, options: dict[str, Any]) -> HubTokenizer:
    from open_clip.tokenizer import HFTokenizer

    return HubTokenizer(HFTokenizer(str(folder), context_length=context_length, **options), context_length)


def _saved(wrapped: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as made:
        wrapped.save_pretrained(made)
        return {path.name: path.read_bytes() for path in sorted(Path(made).iterdir()) if path.is_file()}
