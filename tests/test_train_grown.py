"""A run and the store that it was started on, which has grown since."""

import json
import re

import pytest

from mmssl.data.store import Store
from mmssl.errors import WrongUse
from mmssl.prepare.job import prepare
from mmssl.train import check_store
from tests.preparing import source


def kept(folder, store):
    """As much of a checkpoint as says what it was trained on."""
    folder.mkdir()
    (folder / "model.safetensors").touch()
    told = {"content_hash": store.content_hash, "version": store.version, "key_id": None}
    (folder / "checkpoint.json").write_text(
        json.dumps({"format": 1, "config": {}, "weights_sha256": "", "store": told})
    )
    return folder


def test_a_store_that_has_grown_is_named_with_both_versions_and_a_way_on(tmp_path):
    names = [{"patient_id": f"p{n}", "study_id": f"s{n}", "text": f"text {n}"} for n in range(14)]
    prepare(source(tmp_path / "source", names[:12]), tmp_path / "store", workers=1)
    found = kept(tmp_path / "checkpoint", Store(tmp_path / "store"))
    check_store(Store(tmp_path / "store"), found)
    prepare(source(tmp_path / "source", names), tmp_path / "store", workers=1)
    with pytest.raises(WrongUse, match="version 1 then, 2 now: it has grown, or is another store") as said:
        check_store(Store(tmp_path / "store"), found)
    assert f"init.checkpoint={found} and run=; data.where='version > 1' trains on what is new alone" in str(said.value)
    prepare(source(tmp_path / "other", names[:13]), tmp_path / "another", workers=1)
    with pytest.raises(WrongUse, match=r"holds other data \(\w{12}\) than this run was started on") as said:
        check_store(Store(tmp_path / "another"), found)
    assert not re.search("version", str(said.value))
