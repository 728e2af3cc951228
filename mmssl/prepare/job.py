"""`mmssl prepare SOURCE STORE`: from somebody's files to a store, with a reason for everything that is not kept."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import mmssl
from mmssl import config, console, files, plugins
from mmssl.data import merges
from mmssl.errors import CannotDo, WrongUse, many, meant
from mmssl.prepare import (
    audit_page,
    clean,
    decode,
    join,
    merging,
    names,
    places,
    plan,
    preview,
    rows,
    summary,
    texts,
    versions,
    whose,
    write,
)  # fmt: skip
from mmssl.prepare import entries as entries_of
from mmssl.prepare import settings as prepare_settings
from mmssl.prepare.entries import Entries
from mmssl.prepare.report_join import Reports
from mmssl.prepare.settings import Prepare
from mmssl.prepare.summary import Summary
from mmssl.prepare.there import There
from mmssl.types import Study


def prepare(
    source: Path | str,
    store: Path | str,
    *,
    layout: str | None = None,
    reports: Path | str | None = None,
    labels: Path | str | None = None,
    merges: Path | str | None = None,
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
        reports: table of reports, or texts, Open-i, HL7 or FHIR files, keyed by AccessionNumber, StudyInstanceUID or
            PatientID, or by the columns that were said to be study_id and patient_id.
        labels: table of labels, keyed likewise; its columns enter as label_NAME. An empty cell says "none of the
            names"; among numbers it is not known, as are null and studies that the table lacks.
        merges: table with the columns old and new: ids of patients who turned out to be one. Rows that the store has
            already change too, and a patient of several splits comes to the most protected one.
        overrides: settings as "key=value".
        options: settings by name, as in `mmssl.prepare.settings.Prepare`; groups as mappings.

    Raises:
        WrongUse: for settings, tables and splits that cannot be meant, and onto a store made from another source.
        CannotDo: where no row is kept, or source or store cannot be read or written.
    """
    settings = prepare_settings.read(options, list(overrides))
    source, store = places.named(source), places.named(store)
    given = (("reports", reports), ("labels", labels), ("merges", merges))
    tables = {name: Path(file).expanduser() for name, file in given if file is not None}
    with places.explained(store):
        reader, name = _reader(source, layout, settings)
        _check_places(source, store, tables)
        keyed = settings.ids == "keyed" or (settings.ids == "auto" and reader.keyed_ids)
        told = reader.fingerprint()
        origin_of_keys = _origin(reader, settings)
        stamps = {
            what: _report_source(file, settings, origin_of_keys).fingerprint()
            if what == "reports"
            else files.hash_file(file)
            for what, file in tables.items()
        }
        fingerprint = files.hash_json([told, stamps])
        files.recover_folder(store)
        origin = {"layout": name, "fingerprint": fingerprint, "options": prepare_settings.told(settings)}
        job = _Job(reader, store, settings, tables, origin, keyed=keyed)
        if places.is_filled(store) and (there := versions.already(store, origin, settings, keyed=keyed)):
            return there
        decoded = [told, settings.source, settings.columns, settings.encoding, settings.separator]
        how = config.plain(settings.intensity)
        with places.spool_folder(store, [*decoded, how, decode.CHUNK, mmssl.__version__]) as folder:
            return _make(job, folder)


@dataclass(frozen=True)
class _Job:
    """What there is to do."""

    reader: Any
    store: Path
    settings: Prepare
    tables: Mapping[str, Path]
    """Reports, labels and merges."""
    origin: dict[str, Any]
    """What the manifest says of the source."""
    keyed: bool
    """Whether ids become pseudonyms."""


def _make(job: _Job, folder: Path) -> Summary:
    """The job, top to bottom; `folder` is for what is decoded."""
    reader, store, settings = job.reader, job.store, job.settings
    there = None
    if places.is_filled(store):  # perhaps by another process, while this one waited
        if found := versions.already(store, job.origin, settings, keyed=job.keyed):
            return found
        there = There(store)
    read = texts.reader(settings.text, settings.clean)
    named = names.names(settings, store, keyed=job.keyed, may_make=there is None)
    joined = _join(job, entries_of.studies(reader.studies()))
    studies = joined.studies
    hidden = plan.Hidden() if job.keyed else None
    reading = whose.Reading(reader.patients_known, reader.keyed_ids, settings.patients)
    planned = plan.plan(
        studies,
        settings,
        named,
        reading=reading,
        complete_splits=reader.complete_splits,
        merges=_merges(job.tables, settings),
        before=there or plan.NOTHING,
        change=hidden or (lambda study: study),
    )
    entries = planned.entries
    spool = decode.decode(
        reader,
        entries_of.Pictures(entries),
        _chunks(folder, planned),
        how=settings.intensity,
        workers=settings.workers,
        seconds=settings.limits.seconds,
        memory_gib=settings.limits.memory_gib,
    )
    known = there.known(entries.name, planned.merged.whose) if there else clean.NOTHING
    verdicts = clean.clean(entries, spool, read, patients_known=reader.patients_known, known=known)
    content = rows.Content(
        entries,
        spool,
        verdicts,
        reader=read,
        names_paths=not job.keyed,
        has_root="root" in plugins.options(type(reader)),
        stamps=planned.stamps,
    )
    with places.cleaned_beside(store), files.whole_folder(store) as new:
        written = write.write(new, content, there, planned.merged)
        if planned.merged.whose.of:
            merges.write(new, planned.merged.whose)
        if joined.reports:
            joined.reports.write(new / "joined.parquet", named, lambda name: planned.study_ids[int(name)])
            joined.reports.close()
        told = summary.Told(
            patients_known=reader.patients_known,
            half_known=reading.half_known(studies),
            from_train=planned.from_train,
            dropped=sorted(hidden.dropped) if hidden else [],
            table_columns=reader.table_columns,
            is_dicom=reader.keyed_ids,
            unchanged=planned.unchanged,
            of_splits=planned.remarks,
        )
        manifest = versions.manifest(
            written, job.origin, there, ids="keyed" if job.keyed else "given", key_id=named.key_id,
            patients_known=reader.patients_known, remarks=summary.remarks(written, settings, told), joined=joined.told,
            contract=settings.intensity.contract(),
        )  # fmt: skip
        files.write_json(new / "manifest.json", manifest)
        preview.write(new, title=store.name)
        audit_page.write(new, content, manifest, title=store.name)
        versions.keep_others(store, new)
        if job.keyed:
            named.keep()
            _keep_paths(store, entries)
    summary.show(store, manifest, write.examples(content))
    for line in merging.checkpoints(planned.merged, there.store) if there else ():
        console.warn(line)
    return Summary(store, manifest["counts"]["rows"], manifest["counts"])


def _chunks(folder: Path, planned: plan.Plan) -> Path:
    """Where the chunks of a plan are: another plan, as of a store that has grown meanwhile, has others."""
    place = folder / files.hash_json(sorted(planned.stamps.items()))[:16]
    place.mkdir(exist_ok=True)
    return place


def _origin(reader: Any, settings: Prepare) -> join.Origin:
    return join.Origin(reader.keyed_ids, settings.columns)


GENERAL = ("dicom_tree", "hf_dataset", "image_folder", "table")
"""Layouts that fit many sources: one that knows a public data set goes before them."""

# ---- before --------------------------------------------------------------------------------------------------------


def _reader(source: Path, layout: str | None, settings: Prepare) -> tuple[Any, str]:
    """The source's reader and its name, with the settings that it takes."""
    if not source.exists():
        raise CannotDo(f"{source} cannot be read: there is no such file or folder")
    known = plugins.names("sources")
    if layout is None:
        found = [name for name in known if plugins.find("sources", name).recognises(source)]
        found = [name for name in found if name not in GENERAL] or found
        if len(found) != 1:
            if other := files.swapped(source, needed="a source"):
                raise WrongUse(other)
            said = f"could be {' or '.join(found)}" if found else "is of no kind that is recognised"
            raise WrongUse(
                f"{source} {said}; name its kind with --layout, one of {', '.join(known)}. A source is a table "
                "(.csv, .tsv, .jsonl, .parquet), an image folder with metadata.csv, a folder of DICOM files, a data "
                "set saved to disk, or a public data set as it is published"
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
    more = {"measured": settings.intensity.measured, "percentiles": settings.intensity.percentiles}
    for name, value in (("encoding", settings.encoding), ("separator", settings.separator), *more.items()):
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
        if not file.is_file() and not (name == "reports" and file.is_dir()):
            raise CannotDo(f"--{name} {file} cannot be read: there is no such file")


# ---- between -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Joined:
    """Studies with reports and labels."""

    studies: Sequence[Study]
    told: dict[str, dict[str, Any]]
    """The counts of both sides."""
    reports: Reports | None
    """What became of each report."""


def _join(job: _Job, studies: Sequence[Study]) -> _Joined:
    tables, settings, origin = job.tables, job.settings, _origin(job.reader, job.settings)
    told: dict[str, dict[str, Any]] = {}
    reports = None
    if "reports" in tables:
        source = _report_source(tables["reports"], settings, origin)
        facts = (join.facts_of(study, str(number), origin) for number, study in enumerate(studies))
        reports = Reports(facts, source.records())
        told["reports"] = join.join_reports(reports, source, settings.join, origin).counts(tables["reports"])
        given = (join.with_report(study, reports, str(number)) for number, study in enumerate(studies))
        studies = entries_of.studies(given)
    if "labels" in tables:
        how = {"encoding": settings.encoding or "utf-8", "separator": settings.separator}
        labelled, counts = join.with_labels(list(studies), tables["labels"], settings.join, **how, origin=origin)
        studies, told["labels"] = entries_of.studies(labelled), counts.counts(tables["labels"])
    return _Joined(studies, told, reports)


def _report_source(path: Path, settings: Prepare, origin: join.Origin) -> Any:
    return join.report_source(
        path, settings.join, encoding=settings.encoding, separator=settings.separator, origin=origin
    )


def _merges(tables: Mapping[str, Path], settings: Prepare) -> list[tuple[str, str]]:
    """(old id, new id) of patients who turned out to be one, as the user's table has them."""
    if "merges" not in tables:
        return []
    return merges.read(tables["merges"], encoding=settings.encoding or "utf-8", separator=settings.separator)


def _keep_paths(store: Path, entries: Entries) -> None:
    """STORE.sources.private: which path and which keys a keyed source id stands for; never in the store.

    It has a line for each input of each version; the last one counts.
    """
    path = names.beside(store, "sources.private")
    lines = (
        json.dumps({"source_id": e.source_id, "path": e.picture.source_id, "keys": e.keys}) + "\n" for e in entries
    )
    if path.is_file():
        with open(path, encoding="utf-8") as old:
            names.write_private(path, itertools.chain(old, lines))
    else:
        names.write_private(path, lines)
