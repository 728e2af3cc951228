"""The table of reason codes is made by the code, and up to date."""

import importlib
from pathlib import Path

import pytest

from mmssl.data import contradictions, dicom, images, quality
from mmssl.prepare import reason_codes

PAGE = Path(__file__).parent.parent / "docs" / "reason-codes.md"


def test_the_page_is_up_to_date():
    again = "python -m mmssl.prepare.reason_codes docs/reason-codes.md"
    assert PAGE.read_text(encoding="utf-8") == reason_codes.page(), f"run {again}"


@pytest.mark.parametrize("table", reason_codes.SECTIONS)
def test_every_code_is_the_one_that_its_modules_use(table):
    found = reason_codes.codes(table)
    assert len({code.name for code in found}) == len(found)
    for code in found:
        for module in code.modules:
            used = getattr(importlib.import_module(f"mmssl.{module.replace('/', '.')}"), table)
            assert used[code.name] in code.meaning


def test_no_table_is_left_out():
    reasons = {code.name for code in reason_codes.codes("REASONS")}
    flags = {code.name for code in reason_codes.codes("FLAGS")}
    assert reasons >= set(images.REASONS) | set(dicom.REASONS) | set(quality.REASONS)
    assert flags >= set(quality.FLAGS) | set(contradictions.FLAGS)


@pytest.mark.parametrize("table", reason_codes.SECTIONS)
def test_every_code_is_a_word_with_a_meaning(table):
    for code in reason_codes.codes(table):
        assert code.name.isidentifier(), code.name
        assert code.name == code.name.lower()
        assert len(code.meaning.split()) >= 3, code.name
