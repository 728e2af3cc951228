"""From a checkpoint to vectors: images, texts and rows of a store as unit vectors in one space."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from mmssl import checkpoint as checkpoints
from mmssl import console, hardware
from mmssl.data import dicom, images
from mmssl.data.transforms import normalise, whole_view
from mmssl.errors import Unreadable, WrongUse
from mmssl.hardware import cores
from mmssl.model import Network

if TYPE_CHECKING:
    from mmssl.data.store import Store

CHUNK = 64
Picture = Image.Image | Path | str


def load(
    checkpoint: Path | str, *, trust: Sequence[str] = (), device: str | None = None, batch: int = CHUNK
) -> "Embedder":
    """The encoders of a checkpoint.

    >>> model = mmssl.load("demo/run/checkpoint")                      # doctest: +SKIP
    >>> model.encode_text(["left pleural effusion"]).shape             # doctest: +SKIP
    (1, 256)

    Args:
        checkpoint: its folder, or a run's.
        trust: modules outside mmssl that the checkpoint may name; a dotted path is code.
        device: cpu, cuda ...; the accelerator where there is one.
        batch: images or texts encoded at a time.

    Raises:
        CannotDo: where it is not there, not whole, or from a newer version.
        WrongUse: where it names code that is not trusted, or for a device that this machine lacks.
    """
    loaded = checkpoints.load(Path(checkpoint), trust=trust, device=str(hardware.device(device)))
    if loaded.path != Path(checkpoint) and (Path(checkpoint) / "best").is_dir():
        console.say(f"{checkpoint} is a run: its last checkpoint is taken; {Path(checkpoint) / 'best'} is another")
    return Embedder(loaded.model, info=loaded.info, path=loaded.path, hash=loaded.hash, batch=batch)


class Embedder:
    """Encodes images and texts as unit vectors [N, D], float32; computes in float32."""

    def __init__(self, network: Network, *, info: dict[str, Any], path: Path, hash: str, batch: int = CHUNK) -> None:
        self.network, self.info, self.path, self.hash, self.batch = network, info, path, hash, batch

    @property
    def has_text(self) -> bool:
        return self.network.joint is not None

    @property
    def dim(self) -> int:
        return self.network.dim

    @property
    def scale(self) -> float:
        """The learned inverse temperature; 1 for a checkpoint of images alone."""
        return float(self.network.joint.lent().scale.detach()) if self.network.joint else 1.0

    @property
    def bias(self) -> float:
        return float(self.network.joint.bias.detach()) if self.network.joint else 0.0

    def encode_image(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Unit vectors [N, D] of PIL images, or of files (PNG, JPEG, TIFF, DICOM; of several frames the first).

        Raises:
            WrongUse: naming every file that cannot be read, with its reason, and what is neither picture nor file.
        """
        _need_list(pictures, (Image.Image, Path, str), example="film.png", what="PIL images or paths")
        views: list[np.ndarray] = []
        problems: list[str] = []
        for number, picture in enumerate(pictures):
            try:
                views.append(self._view(opened(picture)))
            except Unreadable as error:
                name = str(picture) if isinstance(picture, str | Path) else f"image {number}"
                problems.append(f"{name}: {error}")
        if problems:
            raise WrongUse("cannot be read as images:\n  " + "\n  ".join(problems))
        return self._encode_views(views)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors [N, D].

        Raises:
            WrongUse: for a checkpoint of images alone, and for what is no list of texts.
        """
        self.need_text()
        _need_list(texts, (str,), example="left pleural effusion", what="texts")
        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), self.batch):
                ids = self.tokenizer(list(texts[start : start + self.batch])).ids
                found.append(self.network.embed_texts(ids.to(self._device)).cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, self.dim), np.float32)

    def encode_rows(self, store: "Store", rows: Sequence[int]) -> np.ndarray:
        """Unit vectors [N, D] of the pictures of a store's rows (their `row` numbers)."""

        def view(row: int) -> np.ndarray:
            return self._view(store.image(int(row)))

        with ThreadPoolExecutor(min(cores(), 8)) as pool:
            found = [
                self._encode_views(list(pool.map(view, rows[start : start + self.batch])))
                for start in range(0, len(rows), self.batch)
            ]
        return np.concatenate(found) if found else np.empty((0, self.dim), np.float32)

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than the text tower reads."""
        self.need_text()
        return [self.tokenizer([text]).truncated > 0 for text in texts]

    def need_text(self) -> None:
        """Raises WrongUse where there is no text tower."""
        if not self.has_text:
            raise WrongUse(
                f"{self.path} was trained on images alone and has no text tower: it cannot read words. "
                "Query it with an image, or pre-train with encoders.text and image_report"
            )

    @property
    def tokenizer(self) -> Any:
        return self.network.towers["text"].tokenizer

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _view(self, image: Image.Image) -> np.ndarray:
        """[1 or 3, S, S] uint8, the evaluation view; colour stays colour, as it does in an export."""
        size: int = self.network.towers["image"].image_size  # pyright: ignore
        view = np.asarray(whole_view(flat(image), size))
        return view[None] if view.ndim == 2 else view.transpose(2, 0, 1)

    def _encode_views(self, views: list[np.ndarray]) -> np.ndarray:
        tower: Any = self.network.towers["image"]
        found = []
        with torch.inference_mode():
            for start in range(0, len(views), self.batch):
                some = views[start : start + self.batch]
                x = torch.from_numpy(np.stack([np.broadcast_to(v, (3, *v.shape[1:])) for v in some]))
                x = normalise(x.to(self._device).float() / 255, tower.mean, tower.std)
                found.append(self.network.embed_images(x).cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, self.dim), np.float32)


def _need_list(given: Any, kinds: tuple[type, ...], *, example: str, what: str) -> None:
    """Raises WrongUse where something is given alone that belongs in a list, or a list holds something else."""
    if isinstance(given, kinds):
        shown = repr(str(given)) if isinstance(given, str | Path) else "image"
        raise WrongUse(f"give a list: [{shown}]")
    if not isinstance(given, list | tuple):
        raise WrongUse(f"give a list of {what}, say [{example!r}]; this is {_kind(given)}")
    odd = [f"[{place}] is {_kind(one)}" for place, one in enumerate(given) if not isinstance(one, kinds)]
    if odd:
        raise WrongUse(f"give a list of {what}, say [{example!r}]; {'; '.join(odd[:5])}{' ...' if odd[5:] else ''}")


def _kind(value: Any) -> str:
    return (
        "None" if value is None else f"of type {type(value).__module__}.{type(value).__name__}".replace("builtins.", "")
    )


def flat(image: Image.Image) -> Image.Image:
    """A picture of any mode in 8 bits, grey or RGB; what is transparent is laid over black, as in a store's view."""
    is_plain = image.mode in ("L", "RGB") and "transparency" not in image.info
    return image if is_plain else images.view8(image, None)


def opened(picture: Picture) -> Image.Image:
    """A picture, or a file as a picture; of a DICOM file with several frames the first.

    Raises:
        Unreadable: with its reason.
    """
    if isinstance(picture, Image.Image):
        return picture
    content = images.read_bytes(Path(picture))
    if dicom.is_dicom(content):
        return dicom.pixels(content, 0)[0].image
    return images.open_image(content)
