"""The audit page: its sum closes, it stays small, it names nobody, and what it counts is right."""

import io
import random
from collections import Counter

import pytest
from PIL import Image

from mmssl import page
from mmssl.prepare import audit


def picture(grey=100):
    return page.thumbnail(Image.new("L", (300, 200), grey), side=audit.SIDE)


def small(**more):
    told = {
        "title": "a.store",
        "facts": [("made", "today")],
        "inputs": 10,
        "kept": 7,
        "rows": 9,
        "reasons": [audit.Code("blank", "all <alike>", 3, [audit.Shown(picture(), 4, "CT")])],
        "flags": [audit.Code("duplicate", "twice", 2, [audit.Shown(picture(), 8, like=picture(9))])],
    }
    return audit.Audit(**{**told, **more})


def test_the_page_has_the_sum_every_code_and_every_picture():
    html = audit.render(small())
    assert "10 inputs = 7 kept + 3 set aside" in html
    assert html.count("data:image/jpeg;base64,") == 3
    assert "all &lt;alike&gt;" in html
    for anchor in ("reason-blank", "flag-duplicate"):
        assert f'id="{anchor}"' in html
        assert f'href="#{anchor}"' in html
    assert "<script" not in html
    assert "http" not in html.split("</style>")[1]


def test_a_sum_that_does_not_close_is_no_page():
    with pytest.raises(ValueError, match="10 inputs are not 6 kept and 3 with a reason"):
        audit.render(small(kept=6))


def test_what_there_is_none_of_is_said():
    html = audit.render(small(inputs=7, reasons=[], flags=[], distributions=[]))
    assert html.count('class="empty"') == 3
    assert 'id="joins"' not in html
    assert 'id="pairs"' not in html


def test_both_sides_of_a_join_are_listed():
    told = {
        "key": "AccessionNumber",
        "lines": {"matched": 5, "ambiguous": 2},
        "studies": {"matched": 4, "unmatched": 6},
    }
    html = audit.render(small(joins={"reports": told}))
    assert "reports joined by AccessionNumber" in html
    assert "lines of the reports" in html
    for state in ("matched", "ambiguous", "unmatched"):
        assert f">{state}<" in html


def test_the_page_of_a_huge_store_is_no_larger_than_a_few_megabytes():
    noise = random.Random(0)
    held = io.BytesIO()
    Image.frombytes("L", (audit.SIDE, audit.SIDE), noise.randbytes(audit.SIDE**2)).save(held, "JPEG", quality=85)
    worst = [audit.Shown(held.getvalue(), 10**9, like=held.getvalue())] * audit.MOST
    few = [audit.Shown(picture(), 10**9, like=picture())] * audit.MOST
    codes = [audit.Code(f"code_{number}", "meaning", 50_000_000, few) for number in range(20)]
    html = audit.render(small(inputs=10**9 + 7, reasons=codes, flags=codes, pairs=worst, num_pairs=10**6))
    assert len(html) < 5_000_000


def test_a_sample_is_the_same_whatever_the_order_and_counts_all():
    names = [f"picture {number}" for number in range(500)]
    shuffled = random.Random(1).sample(names, 500)
    chosen = []
    for order in (names, shuffled):
        sample = audit.Sample()
        for name in order:
            sample.offer("blank", name, name)
        chosen.append(sample.chosen("blank"))
        assert sample.count("blank") == 500
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) == audit.MOST
    places = [names.index(name) for name in chosen[0]]
    assert min(places) < 100
    assert max(places) > 400


def test_distributions_count_every_row_once():
    counted = audit.Distributions()
    rows = [{"width": 512, "height": 600 + n, "age": n % 90, "sex": "F" if n % 3 else None} for n in range(900)]
    rows += [{"text": "no acute finding", "label_edema": 1, "label_mass": 0, "findings": {"nodule": "present"}}] * 100
    for row in rows:
        counted.add(row)
    bars = {one.title: one for one in counted.bars()}
    assert bars["sex"] == audit.Bars("sex", [("F", 600)], 400)
    assert bars["short side, pixels"] == audit.Bars("short side, pixels", [("510", 900)], 100)
    assert bars["words of text, words" if "words of text, words" in bars else "words of text"].bars == [("3", 100)]
    assert dict(bars["labels and findings, present"].bars) == {"edema": 100, "nodule": 100}
    ages = bars["age, years"]
    assert sum(number for _, number in ages.bars) == 900
    assert ages.missing == 100
    assert len(ages.bars) <= audit.BARS + 1


def test_a_column_of_a_million_values_is_counted_in_little_memory(monkeypatch):
    monkeypatch.setattr(audit, "DISTINCT", 50)
    counted = audit.Distributions()
    for number in range(1000):
        counted.add({"site": f"site {number}", "age": number / 7})
    bars = {one.title: one for one in counted.bars()}
    assert sum(number for _, number in bars["site"].bars) == 1000
    assert dict(bars["site"].bars)["other"] == 950


def test_bins_hold_every_number():
    counts = Counter({audit._rounded(value): 1 for value in (0.001, 0.5, 3, 77, 1234, 99999)})
    counts.update({float(number): 2 for number in range(40)})
    assert sum(number for _, number in audit._binned(counts)) == counts.total()


def test_reasons_come_with_their_meaning_and_the_commonest_first():
    told = audit.codes({"a": 1, "b": 5}, {"b": "is b"}, {"a": [audit.Shown(None, 0)]})
    assert [(code.name, code.meaning, len(code.shown)) for code in told] == [("b", "is b", 0), ("a", "", 1)]
