"""A checkpoint in the format of others: one file of `mmssl/exports` each."""

from pathlib import Path
from typing import Protocol

from mmssl import checkpoint as checkpoints
from mmssl import console, plugins
from mmssl.errors import WrongUse
from mmssl.files import usual_mode, whole_folder


class Export(Protocol):
    """`mmssl/exports/NAME.py`, class `Export`."""

    def write(self, loaded: checkpoints.Loaded, folder: Path, *, out: Path) -> list[str]:
        """Writes into `folder`, which becomes `out` when all is well; returns what the user has to know.

        Raises:
            WrongUse: when the format has no place for something in the checkpoint; says for what.
        """
        ...


def export(checkpoint: Path | str, out: Path | str, *, to: str = "open_clip") -> Path:
    """Writes a checkpoint as others load it; the folder is there whole and checked, or not at all.

    >>> export("demo/run/checkpoint", "exported", to="open_clip")     # doctest: +SKIP

    Args:
        checkpoint: Its folder, or a run's.
        out: A folder that is not there yet, or empty.
        to: `open_clip` (both towers) or `timm` (the image tower alone).

    Raises:
        WrongUse: when the format is unknown, cannot hold this checkpoint, or `out` holds something.
        CannotDo: when the checkpoint cannot be read, or what was written does not give the same embeddings.
    """
    part = plugins.find("exports", to)
    out = Path(out).absolute()
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise WrongUse(f"{out} is there already and is not empty; name a new folder to export to")
    loaded = checkpoints.load(Path(checkpoint))
    exporter: Export = part()
    with whole_folder(out) as folder:
        remarks = exporter.write(loaded, folder, out=out)
        for weights in folder.rglob("*.safetensors"):
            usual_mode(weights)
    for remark in remarks:
        console.say(remark)
    return out
