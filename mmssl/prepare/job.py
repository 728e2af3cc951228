"""`mmssl prepare SOURCE STORE`: from somebody's files to a store, with a reason for everything that is not kept."""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError

import mmssl
from mmssl import console, files, plugins
from mmssl.data import store as stores
from mmssl.errors import CannotDo, WrongUse, many, meant
from mmssl.prepare import clean, decode, join, plan, preview, summary, write
from mmssl.prepare import settings as prepare_settings
from mmssl.prepare.settings import Prepare
from mmssl.types import Study


@dataclass(frozen=True)
class Summary:
    """What a store holds after `prepare`."""

    path: Path
    rows: int
    counts: dict[str, Any] = field(default_factory=dict)
    skipped: bool = False
    """True: the store was there already, made from the same source in the same way."""


def prepare(
    source: Path | str,
    store: Path | str,
    *,
    layout: str | None = None,
    reports: Path | str | None = None,
    labels: Path | str | None = None,
    overrides: Sequence[str] = (),
    **options: Any,
) -> Summary:
    """Makes a store of images and their texts.

    Example:
        prepare("pairs.csv", "my.store", columns={"text": "caption"}, split="test")

    Args:
        source: a table, an image folder, a folder of DICOM files, or a Hugging Face data set on disk.
        store: folder to write; whole or not at all.
        layout: a file of mmssl/sources; else recognised.
        reports: table of reports, keyed by AccessionNumber, StudyInstanceUID or PatientID, or by the columns that
            were said to be study_id and patient_id.
        labels: table of labels, keyed likewise; its columns enter as label_NAME. An empty cell says "none of the
            names"; among numbers it is not known, as are null and studies that the table lacks.
        overrides: settings as "key=value".
        options: settings by name, as in `mmssl.prepare.settings.Prepare`; groups as mappings.

    Raises:
        WrongUse: for settings, tables and splits that cannot be meant, and onto a store made from another source.
        CannotDo: where no row is kept, or source or store cannot be read or written.
    """
    settings = prepare_settings.read(options, list(overrides))
    source, store = _named(source), _named(store)
    tables = {
        name: Path(file).expanduser() for name, file in (("reports", reports), ("labels", labels)) if file is not None
    }
    with _explained(store):
        reader, name = _reader(source, layout, settings)
        _check_places(source, store, tables)
        keyed = settings.ids == "keyed" or (settings.ids == "auto" and reader.keyed_ids)
        told = reader.fingerprint()
        fingerprint = files.hash_json([told, {what: files.hash_file(file) for what, file in tables.items()}])
        files.recover_folder(store)
        origin = {"layout": name, "fingerprint": fingerprint, "options": prepare_settings.told(settings)}
        if _is_filled(store):
            return _already(store, origin, settings, keyed=keyed)
        names = plan.names(settings, store, keyed=keyed)
        decoded = [told, settings.source, settings.columns, settings.encoding, settings.separator]
        return _make(reader, store, settings, names, tables, origin, decoded=decoded)


def _make(
    reader: Any,
    store: Path,
    settings: Prepare,
    names: plan.Names,
    tables: Mapping[str, Path],
    origin: dict[str, Any],
    *,
    decoded: list[Any],
) -> Summary:
    """The job, top to bottom; `decoded` names what the spool holds."""
    studies, joined = _join(list(reader.studies()), tables, settings, join.Origin(reader.keyed_ids, settings.columns))
    patients_known = reader.patients_known
    half_known = plan.half_known(studies, ids_name_realm=reader.keyed_ids)
    studies, dropped = plan.without_keys(studies) if names.key is not None else (studies, [])
    entries = plan.plan(
        studies,
        settings,
        names,
        patients_known=patients_known,
        ids_name_realm=reader.keyed_ids,
        complete_splits=reader.complete_splits,
    )
    pictures = [entry.picture for entry in entries]
    with _spool(store, [*decoded, settings.short_side, decode.CHUNK, mmssl.__version__]) as spool_folder:
        if _is_filled(store):  # by another process, while this one waited
            return _already(store, origin, settings, keyed=names.key is not None)
        spool = decode.decode(reader, pictures, spool_folder, short_side=settings.short_side, workers=settings.workers)
        verdicts = clean.clean(entries, spool, settings.clean, patients_known=patients_known)
        entries = clean.gathered(entries, spool, verdicts)
        sections, is_cleaned = settings.text.sections, settings.clean.enabled and settings.clean.text
        with _beside(store), files.whole_folder(store) as folder:
            content = write.Content(
                entries,
                spool,
                verdicts,
                sections,
                is_cleaned,
                names_paths=names.key is None,
                has_root="root" in plugins.options(type(reader)),
            )
            written = write.write(folder, content)
            manifest = write.manifest(
                written,
                source=origin,
                ids="given" if names.key is None else "keyed",
                key_id=names.key_id,
                patients_known=patients_known,
                remarks=summary.remarks(
                    written,
                    settings,
                    patients_known,
                    half_known=half_known,
                    from_train=len({entry.patient_id for entry in entries if entry.from_train}),
                    dropped=dropped,
                    table_columns=reader.table_columns,
                    is_dicom=reader.keyed_ids,
                ),
                **joined,
            )
            files.write_json(folder / "manifest.json", manifest)
            preview.write(folder, title=store.name)
            if names.key is not None:
                names.keep()
                _keep_paths(store, entries)
    summary.show(store, manifest, write.examples(content))
    return Summary(store, manifest["counts"]["rows"], manifest["counts"])


def _is_filled(store: Path) -> bool:
    return store.is_dir() and any(store.iterdir())


def _named(path: Path | str) -> Path:
    """A path with a name to put others beside: `.` has none."""
    path = Path(path).expanduser()
    return path if path.name not in ("", "..") else path.resolve()


# ---- before --------------------------------------------------------------------------------------------------------


def _reader(source: Path, layout: str | None, settings: Prepare) -> tuple[Any, str]:
    """The source's reader and its name, with the settings that it takes."""
    if not source.exists():
        raise CannotDo(f"{source} cannot be read: there is no such file or folder")
    known = plugins.names("sources")
    if layout is None:
        found = [name for name in known if plugins.find("sources", name).recognises(source)]
        if len(found) != 1:
            if other := files.swapped(source, needed="a source"):
                raise WrongUse(other)
            said = f"could be {' or '.join(found)}" if found else "is of no kind that is recognised"
            raise WrongUse(
                f"{source} {said}; name its kind with --layout, one of {', '.join(known)}. A source is a table "
                "(.csv, .tsv, .jsonl, .parquet), an image folder with metadata.csv, a folder of DICOM files, or a data "
                "set saved to disk"
            )
        layout = found[0]
    part = plugins.find("sources", layout)
    return part(source, **_source_options(part, layout, settings)), layout


def _source_options(part: type, layout: str, settings: Prepare) -> dict[str, Any]:
    """What the settings say of a source, checked against what it takes."""
    known = plugins.options(part)
    given = dict(settings.source)
    if settings.columns:
        given["columns"] = settings.columns
    for name, value in (("encoding", settings.encoding), ("separator", settings.separator)):
        if value is not None and name in known:
            given[name] = value
    problems, checked = [], {}
    for name, value in given.items():
        if name not in known:
            problems.append(f"{name}: no option of {layout}{meant(name, list(known))}")
            continue
        try:
            checked[name] = TypeAdapter(known[name][0]).validate_python(value)
        except ValidationError as error:
            problems.append(f"{name}: {error.errors()[0]['msg']}, got {value!r}")
    if problems:
        raise WrongUse(many(f"the source's options; {layout} takes {', '.join(known) or 'none'}", problems))
    return checked


def _check_places(source: Path, store: Path, tables: Mapping[str, Path]) -> None:
    problems = []
    if store.resolve() == source.resolve() or (source.is_dir() and store.resolve().is_relative_to(source.resolve())):
        problems.append(f"the store {store} would lie inside its source {source}; name a place beside it")
    if store.exists() and not store.is_dir():
        problems.append(f"{store} is a file; a store is a folder")
    if problems:
        raise WrongUse("\n".join(problems))
    for name, file in tables.items():
        if not file.is_file():
            raise CannotDo(f"--{name} {file} cannot be read: there is no such file")


def _already(store: Path, origin: dict[str, Any], settings: Prepare, *, keyed: bool) -> Summary:
    """The store that is there, if it was made from the same source in the same way."""
    if not (store / "manifest.json").exists():
        raise WrongUse(f"{store} is a folder with other things in it; name a new one")
    there = stores.Store(store).manifest
    made = there["source"]
    if (made["layout"], made["fingerprint"]) != (origin["layout"], origin["fingerprint"]):
        raise WrongUse(
            f"{store} was made from another source, or from another state of this one; stores cannot grow yet: "
            "prepare into a new folder"
        )
    then, now = _leaves(made["options"]), _leaves(origin["options"])
    different = [
        f"{name}: {_said(then.get(name))} then, {_said(now.get(name))} now"
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name)
    ]
    if different:
        raise WrongUse(many(f"{store}, made with other settings; prepare into a new folder", different))
    if there["key_id"] != plan.names(settings, store, keyed=keyed, may_make=False).key_id:
        raise WrongUse(f"{store} was made with another key; prepare into a new folder")
    counts = there["counts"]
    console.say(
        f"{store} is there already, made from this source in the same way: {counts['rows']} rows; nothing to do"
    )
    return Summary(store, counts["rows"], counts, skipped=True)


def _leaves(options: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Settings by their whole names: {"clean.enabled": True}."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        inner = isinstance(value, Mapping)
        found |= _leaves(value, f"{path}{name}.") if inner else {f"{path}{name}": value}
    return found


def _said(value: Any) -> str:
    """A setting as it is written in key=value."""
    return json.dumps(value, ensure_ascii=False) if value is not None else "not given"


@contextlib.contextmanager
def _spool(store: Path, holds: list[Any]) -> Iterator[Path]:
    """A folder beside the store for what is decoded; it outlives an interruption, so that the next call goes on."""
    folder = store.with_name(f".{store.name}.prepare")
    with _locked(folder, store):
        job = files.hash_json(holds)
        told = folder / "job"
        if not told.is_file() or told.read_text() != job:
            for old in folder.iterdir():
                if old.name != "lock":
                    old.unlink()
            told.write_text(job)
        try:
            yield folder
        except KeyboardInterrupt:
            console.say(f"stopped; the same command goes on from here (what is decoded waits in {folder})")
            raise
        except (OSError, CannotDo):
            shutil.rmtree(folder, ignore_errors=True)  # a full disk is freed again
            raise
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, store: Path) -> Iterator[None]:
    """The folder, made where it is not there, for this process alone; one that came first removes it when done."""
    held = folder / "lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with open(held, "a") as lock:
            _hold(lock, store)
            if held.exists() and os.path.samestat(os.fstat(lock.fileno()), held.stat()):
                yield
                return


@contextlib.contextmanager
def _beside(store: Path) -> Iterator[None]:
    """Takes the files beside a store away again where they were made for one that did not come about."""
    made = [path for path in (plan.beside(store, "key"), plan.beside(store, "sources.private")) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in made if not _is_filled(store) else ():  # one that is in place needs its key
            path.unlink(missing_ok=True)
        raise


def _hold(lock: IO[str], store: Path) -> None:
    """Keeps a second `prepare` off; waits for the workers of one that was killed."""
    for _ in range(30):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            return
    raise CannotDo(f"{store} is being prepared by another process")


@contextlib.contextmanager
def _explained(store: Path) -> Iterator[None]:
    """What the system refuses (no space, no permission), as one sentence that names the place."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        where = error.filename or store.parent
        raise CannotDo(f"{store} cannot be made, and nothing of it is left: {where}: {why}") from error


# ---- between -------------------------------------------------------------------------------------------------------


def _join(
    studies: list[Study], tables: Mapping[str, Path], settings: Prepare, origin: join.Origin
) -> tuple[list[Study], dict[str, dict[str, Any]]]:
    """Studies with reports and labels, and the counts of both sides."""
    told: dict[str, dict[str, Any]] = {}
    for what, adds in (("reports", join.with_reports), ("labels", join.with_labels)):
        if what in tables:
            how = {"encoding": settings.encoding or "utf-8", "separator": settings.separator}
            studies, joined = adds(studies, tables[what], settings.join, **how, origin=origin)
            told[what] = joined.counts(tables[what])
    return studies, told


def _keep_paths(store: Path, entries: Sequence[plan.Entry]) -> None:
    """STORE.sources.private: which path and which keys a keyed source id stands for; never in the store."""
    lines = (
        json.dumps({"source_id": e.source_id, "path": e.picture.source_id, "keys": e.keys}) + "\n" for e in entries
    )
    plan.write_private(plan.beside(store, "sources.private"), "".join(lines))
