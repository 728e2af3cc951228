"""Versions of a store: whether a source is in it already, what may differ from one to the next, and the manifest."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mmssl
from mmssl import console
from mmssl.data import merges
from mmssl.data import store as stores
from mmssl.errors import WrongUse, many
from mmssl.prepare import names, shards
from mmssl.prepare import settings as prepare_settings
from mmssl.prepare.settings import Prepare
from mmssl.prepare.summary import Summary
from mmssl.prepare.there import There

OURS = (
    "manifest.json",
    "sources.parquet",
    "rejected.parquet",
    "studies.parquet",
    "pairs.parquet",
    "preview.html",
    "audit.html",
    merges.FILE,
)
"""Files of a store that every version writes anew, beside its shards."""

FIXED = ("intensity", "splits", "text")
"""Settings, and groups of them, that hold for all versions of a store: else its rows could not be compared."""


def already(store: Path, origin: dict[str, Any], settings: Prepare, *, keyed: bool) -> Summary | None:
    """The store that is there, where nothing of the source is new to it; None where it can grow by the source.

    Raises:
        WrongUse: where it cannot: it was made with other settings or another key, or is no store at all.
    """
    if not (store / "manifest.json").exists():
        raise WrongUse(f"{store} is a folder with other things in it; name a new one")
    there = stores.Store(store).manifest
    if there["ids"] != ("keyed" if keyed else "given"):
        raise WrongUse(
            f"{store} has ids that are {there['ids']}, this source's would be {'keyed' if keyed else 'given'}: say "
            f"ids={there['ids']}, or prepare into a new folder"
        )
    made = [line["source"] for line in there["history"]]
    same = [one for one in made if (one["layout"], one["fingerprint"]) == (origin["layout"], origin["fingerprint"])]
    usual = _leaves(prepare_settings.told(Prepare()))  # of settings that there were not yet
    then, now = usual | _leaves((same or made)[-1]["options"]), _leaves(origin["options"])
    different = [
        f"{name}: {_said(then.get(name))} then, {_said(now.get(name))} now"
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name) and (same or name.split(".")[0] in FIXED)
    ]
    if different:
        raise WrongUse(many(f"{store}, made with other settings; prepare into a new folder", different))
    if there["key_id"] != names.names(settings, store, keyed=keyed, may_make=False).key_id:
        raise WrongUse(f"{store} was made with another key; prepare into a new folder")
    if not same:
        return None
    counts = there["counts"]
    console.say(
        f"{store} is there already, made from this source in the same way: {counts['rows']} rows; nothing to do"
    )
    return Summary(store, counts["rows"], counts, skipped=True)


def manifest(
    written: dict[str, Any],
    origin: dict[str, Any],
    there: There | None,
    *,
    joined: Mapping[str, Any],
    contract: Mapping[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """The manifest of a version.

    Args:
        written: what `write` says of its files.
        origin: the source, and the settings that it was read with.
        there: the version before.
        joined: how reports and labels found their studies.
        contract: what the numbers in its pictures mean.
        more: what else there is to say.

    Raises:
        WrongUse: where patients are known in one version alone.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    before = there.store.manifest if there else {"created": now, "history": []}
    if there and before["patients_known"] != more["patients_known"]:
        known, unknown = ("store", "source") if before["patients_known"] else ("source", "store")
        raise WrongUse(f"the {known} names patients and the {unknown} does not: prepare into a new folder")
    changes = written.pop("changes")
    line = {"version": written["version"], "created": now, "mmssl": mmssl.__version__, "source": origin, **changes}
    return {
        "schema": stores.FORMAT,
        "mmssl": mmssl.__version__,
        "created": before["created"],
        "source": origin,
        **more,
        **joined,
        **written,
        "intensity": contract,
        "deidentified": "none",
        "history": [*before["history"], line | dict(joined)],
    }


def keep_others(old: Path, new: Path) -> None:
    """Links to the files of a store that are not ours, so that none is lost when a new version takes its place."""
    for file in old.rglob("*") if old.is_dir() else ():
        name = file.relative_to(old)
        ours = name.parts[0] in ("data", "extra") or name.as_posix() in OURS
        if file.is_file() and not ours and not (new / name).exists():
            shards.link(file, new / name)


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
