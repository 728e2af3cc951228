"""A published evaluation of checkpoints on a store, as its protocol fixes it: one file of `mmssl/protocols` each."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

import mmssl
from mmssl import config, console, figures, files, plugins
from mmssl.errors import WrongUse
from mmssl.evaluation import report
from mmssl.evaluation.protocol import EvaluationProtocol, Judged, Subset
from mmssl.overlap import guard

FILES = ("results.json", "predictions.parquet", "report.html", "roc.svg")


@dataclass(frozen=True)
class Settings:
    """What `mmssl evaluate` can be told; every other key is an option of the protocol, and changes it."""

    part_kind: ClassVar[str] = "protocols"
    kind: str
    """File in mmssl/protocols, or a dotted path."""
    split: Literal["train", "validation", "test", "all"] = "test"
    where: str | None = None
    """Of the split, only such rows."""
    labels: Path | None = None
    """A table with the truth, where the store has none."""
    column: str | None = None
    """A column with lists of findings, where there is none for each label."""
    overlap: Literal["refuse", "allow"] = "refuse"
    """What to do where checkpoints were trained on these rows; `allow`: count them in, and say so."""
    out: Path | None = None
    """Folder for the results as files."""
    device: str | None = None
    """Where to compute: cpu, cuda ...; the accelerator where there is one."""
    batch: Annotated[int, Ge(1)] = 64
    """Images encoded at a time."""
    options: dict[str, Any] = field(default_factory=dict)


def evaluate(
    protocol: str, checkpoints: Sequence[Path | str] | Path | str, store: Path | str, *overrides: str
) -> dict[str, Any]:
    """Judges checkpoints on a store by a published protocol, whose definition is hashed into the result.

    >>> evaluate("chexpert", "runs/first/best", "my.store", "out=results")     # doctest: +SKIP

    Args:
        protocol: a file of mmssl/protocols by name.
        checkpoints: one or more, whose probabilities are averaged.
        store: as `mmssl prepare` makes it.
        overrides: `split=`, `where=`, `labels=`, `column=`, `overlap=`, `out=`, `device=`, `batch=`. Any other is an
            option of the protocol: what is measured then is not what was published, and the result names it under
            `modified`.

    Returns:
        What results.json holds: `headline`, `means`, `labels`, `counts`, `overlap`, `protocol` with its definition,
        `hashes` ...

    Raises:
        WrongUse: for an unknown protocol or setting, a store that lacks what the protocol needs, a checkpoint without
            a text tower or trained on these rows, an `out` that is a file.
        CannotDo: for a checkpoint or store that cannot be read.
    """
    from mmssl import embed
    from mmssl.data.store import Store

    settings = config.load({"kind": protocol}, list(overrides), Settings)
    paths = [checkpoints] if isinstance(checkpoints, str | Path) else list(checkpoints)
    if not paths:
        raise WrongUse("no checkpoint given")
    if settings.out is not None:
        files.check_folder_to_write(settings.out, option="out")
    part = plugins.find("protocols", settings.kind)
    chosen: EvaluationProtocol = part(**settings.options)
    opened = Store(Path(store))
    subset = Subset(settings.split, settings.where, settings.labels, settings.column)
    case = chosen.choose(opened, subset)  # before the models, so that mistakes show at once
    seen = guard.look(
        [Path(path) for path in paths], opened, split=settings.split, where=settings.where, overlap=settings.overlap
    )
    embedders = [embed.load(Path(path), device=settings.device, batch=settings.batch) for path in paths]
    judged = chosen.judge(embedders, opened, case)
    result = _told(settings, chosen, opened, embedders, judged)
    guard.add(result, seen)
    for warning in result["warnings"]:
        console.warn(warning)
    report.show(result)
    if settings.out is not None:
        told = _write(result, judged, settings.out)
        console.say(f"written to {settings.out}: {', '.join(told)}")
    return result


def known() -> list[list[str]]:
    """The protocols that there are: name, what it is, the hash of its definition."""
    found = []
    for name in plugins.names("protocols"):
        part = plugins.find("protocols", name)
        found.append([name, _what(part), files.hash_json(part().definition())])
    return found


def modified(part: type, options: dict[str, Any]) -> list[str]:
    """The options that differ from the published protocol, as `name: theirs instead of ours`.

    >>> class Part:
    ...     def __init__(self, *, draws: int = 1000, uncertain: str = "ignore") -> None: ...
    >>> modified(Part, {"draws": 200, "uncertain": "ignore"})
    ['draws: 200 instead of 1000']
    """
    usual = {name: default for name, (_, default) in plugins.options(part).items()}
    return [f"{name}: {value} instead of {usual[name]}" for name, value in options.items() if value != usual[name]]


def _told(
    settings: Settings,
    protocol: EvaluationProtocol,
    store: Any,
    embedders: Sequence[Any],
    judged: Judged,
) -> dict[str, Any]:
    """What every protocol's result says of what was judged, around what this one says."""
    definition = protocol.definition()
    changes = modified(type(protocol), settings.options)
    said = [f"not the protocol {settings.kind} as published: {change}" for change in changes]
    return {
        "mmssl": mmssl.__version__,
        "protocol": {
            "name": settings.kind,
            "what": _what(type(protocol)),
            "hash": files.hash_json(definition),
            "modified": changes,
            "definition": definition,
        },
        "split": settings.split,
        "where": settings.where,
        "store": {"path": str(store.path), "version": store.version, "content_hash": store.content_hash},
        "checkpoints": [
            {"path": str(one.path), "hash": one.hash, "step": one.info.get("step"), "store": one.info.get("store")}
            for one in embedders
        ],
        "hashes": {
            "protocol": files.hash_json(definition),
            "rows": files.hash_json(sorted(set(judged.predictions["row"].to_pylist()))),
            "store": store.content_hash,
            "checkpoints": [one.hash for one in embedders],
        },
        **judged.result,
        "warnings": [*said, *judged.result["warnings"]],
    }


def _what(part: type) -> str:
    return (inspect.getdoc(part) or "").partition("\n")[0]


def _write(result: dict[str, Any], judged: Judged, out: Path) -> list[str]:
    """The files of a result; returns their names."""
    import pyarrow.parquet as pq

    out.mkdir(parents=True, exist_ok=True)
    (out / "roc.svg").unlink(missing_ok=True)  # of an earlier call
    with files.whole_file(out / "predictions.parquet") as part:
        pq.write_table(judged.predictions, part)
    if judged.curves:
        with files.whole_file(out / "roc.svg") as part:
            part.write_bytes(figures.roc_curves(judged.curves, format="svg"))
    with files.whole_file(out / "report.html") as part:
        part.write_text(report.html(result, judged.curves), encoding="utf-8")
    files.write_json(out / "results.json", result)
    return [name for name in FILES if (out / name).exists()]
