"""What moved between versions is found and named, what did not is left in peace, and each number has a reference."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from mmssl import cli
from mmssl.data.store import Store
from mmssl.drift import compare, job, measures, sample
from mmssl.drift.compare import Measure
from mmssl.drift.job import drift
from mmssl.errors import WrongUse
from mmssl.prepare.job import prepare
from tests.preparing import write_csv

USUAL = {
    "scanner": ["ACME X1", "Other Q"], "site": ["North", "South"], "view": ["PA", "AP", "LATERAL"], "sex": ["F", "M"],
    "modality": ["DX", "CR"], "laterality": ["L", "R"], "label_nodule": [0, 0, 0, 1],
}  # fmt: skip
MOVED = {
    "scanner": ["ACME X1", "Other Q", "ACME X2"], "site": ["North", "North", "North", "South"],
    "view": ["PA", "AP", "AP", "AP"], "sex": ["F", "F", "F", "M"], "modality": ["DX", "DX", "DX", "CR"],
    "laterality": ["L", "L", "L", "R"], "label_nodule": [0, 1, 1, 1],
}  # fmt: skip
SHIFTED = {
    "width", "height", "age", *USUAL, "flags: text_missing", "text", "length of text, in words", "grey level, mean",
    "grey level, spread", "age known",
    "language",  # of which a row without a text has none
}  # fmt: skip
"""All that the third version of the store below does otherwise."""


def studies(folder, numbers, random, *, moved=False):
    """A table with two pictures for each patient, of the usual kind or not."""
    folder.mkdir()
    rows = []
    for number in numbers:
        of = MOVED if moved else USUAL
        low, high, size = (100, 180, (64, 56)) if moved else (0, 255, (48, 40))
        size = tuple(int(side + random.integers(0, 9)) for side in size)
        coarse = Image.fromarray(random.integers(low, high, (6, 5), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.png")
        row = {name: random.choice(values) for name, values in of.items()}
        row |= {"image": f"{number}.png", "patient_id": f"p{number // 2}", "study_id": f"s{number}"}
        row["age"] = "" if moved and random.random() < 0.3 else round(random.normal(70 if moved else 55, 12), 1)
        if number % 2:  # a patient is one within a site, and has one sex
            row |= {name: rows[-1][name] for name in ("site", "sex")}
        words = " ".join(["word"] * int(random.integers(12, 30) if moved else random.integers(5, 20)))
        row["text"] = "" if random.random() < (0.4 if moved else 0.05) else words
        rows.append(row)
    return write_csv(folder / "table.csv", rows)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three versions: 240 rows of 120 patients, 240 of the same kind, 240 in which all has moved."""
    place, random = tmp_path_factory.mktemp("drift"), np.random.default_rng(0)
    for number, moved in enumerate((False, False, True)):
        source = studies(place / f"day {number}", range(240 * number, 240 * (number + 1)), random, moved=moved)
        prepare(source, place / "store", workers=1)
    return place / "store"


def test_between_two_halves_of_one_kind_nothing_has_moved(store):
    result = drift(store, from_version=1, to_version=2)
    assert {one["name"] for one in result["tests"]} >= SHIFTED - {"age known"}
    assert {one["moved"] for one in result["tests"]} == {"no difference shown"}
    assert result["warnings"] == []
    assert result["groups"] == [
        {"name": "version 1", "rows": 240, "patients": 120}, {"name": "version 2", "rows": 240, "patients": 120},
    ]  # fmt: skip


def test_each_shift_that_was_planted_is_found_and_named(store, tmp_path):
    result = drift(store, out=tmp_path / "out")
    assert [group["name"] for group in result["groups"]] == ["versions 1 to 2", "version 3"]
    assert [group["patients"] for group in result["groups"]] == [240, 120]
    found = {one["name"]: one for one in result["tests"]}
    assert {name for name, one in found.items() if one["moved"] == "moved"} == SHIFTED
    assert re.match(r"ACME X2 is new, 3\d% of patients; ", found["scanner"]["said"])
    assert re.match(r"median 6\d, before 5\d", found["width"]["said"])
    effects = [one["effect"] for one in result["tests"] if one["moved"] == "moved"]
    assert effects == sorted(effects, reverse=True)
    assert result["skipped"]["shown"] == "no row has a value"
    assert json.loads((tmp_path / "out/drift.json").read_text()) == result


def test_the_page_shows_all_and_loads_nothing(store, tmp_path):
    drift(store, out=tmp_path / "out")
    html = (tmp_path / "out/drift.html").read_text()
    assert "ACME X2 is new" in html
    assert html.count("data:image/svg+xml") >= len(SHIFTED)
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    ids = {row["patient_id"] for row in Store(store).select(columns=["patient_id"]).to_pylist()}
    assert not [name for name in ids if re.search(rf"\b{name}\b", html)]


def test_one_row_of_each_patient_is_looked_at(store):
    told = Store(store)
    [group] = sample.groups(told, {"all": lambda versions: versions > 0}, ["patient_id", "version"])
    patients = group.table["patient_id"].to_pylist()
    assert (group.rows, group.units) == (720, 360)
    assert len(set(patients)) == len(patients) == 360
    numbers = told.select(columns=["patient_id"])
    assert [numbers["patient_id"][row].as_py() for row in group.table["row"].to_pylist()] == patients
    [some] = sample.groups(told, {"all": lambda versions: versions > 0}, ["patient_id"], most=50)
    assert some.units == 50
    assert set(some.table["patient_id"].to_pylist()) <= set(patients)


def test_nan_is_a_value_that_is_not_known():
    import pyarrow as pa

    assert measures._known(pa.chunked_array([[1.0, float("nan"), None]])) == [1.0, None, None]


def test_the_command_prints_a_table_and_ends_well(store, capsys):
    assert cli.run(["drift", str(store), "--from", "1", "--to", "3"]) == 0
    out, err = capsys.readouterr()
    assert "drift: version 3 (120 patients) against version 1 (120 patients)" in out
    assert "scanner: ACME X2 is new" in err
    assert "not compared: " in err


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"to_version": 4}, "--to 4: .* has the versions 1 to 3"),
        ({"from_version": 0}, "--from 0: .* has the versions 1 to 3"),
        ({"to_version": 1}, "nothing before version 1; name a version to compare with by --from"),
        ({"from_version": 3}, "--from 3: this is the version that is compared"),
    ],
)
def test_versions_that_cannot_be_compared(store, versions, said):
    with pytest.raises(WrongUse, match=said):
        drift(store, **versions)


def test_few_rows_are_warned_of_and_too_few_not_tested(tmp_path, capsys):
    random = np.random.default_rng(1)
    prepare(studies(tmp_path / "a", range(60), random), tmp_path / "store", workers=1)
    with pytest.raises(WrongUse, match="has one version, and drift compares two"):
        drift(tmp_path / "store")
    prepare(studies(tmp_path / "b", range(60, 70), random), tmp_path / "store", workers=1)
    capsys.readouterr()
    result = drift(tmp_path / "store")
    job.show(result)
    assert result["tests"] == []
    said = "version 1 has only 30 patients, and version 2 has only 5 patients: only great differences are found"
    assert f"warning: {said}" in capsys.readouterr().err
    assert result["skipped"]["sex"] == "too few values are known: 30 before, 5 now; 20 of each are needed"


# ---- each number against a reference -------------------------------------------------------------------------------


def test_numbers_agree_with_the_definition_of_their_test():
    random = np.random.default_rng(2)
    before, now = random.normal(0, 1, 300), random.normal(0.4, 1, 170)
    told = compare.numbers(Measure("x", "number", [*before, None, float("nan")], list(now)))
    at = np.concatenate([before, now])
    distance = max(abs(np.mean(before <= x) - np.mean(now <= x)) for x in at)
    assert told["effect"] == pytest.approx(distance)
    assert told["p"] == pytest.approx(stats.ks_2samp(before, now, method="exact").pvalue, rel=1e-6)
    assert told["n"] == [300, 170]
    assert [sum(side) for side in told["counts"]] == [300, 170]


def test_categories_agree_with_pearsons_sum():
    before, now = ["a"] * 60 + ["b"] * 40 + ["c"] * 2, ["a"] * 20 + ["b"] * 50 + [None] * 30
    told = compare.categories(Measure("x", "category", before, now))
    counts = np.array([[60, 40, 2], [20, 50, 30]])  # `c` is too rare, and goes with the rarest that is not
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert told["p"] == pytest.approx(stats.chi2.sf(statistic, 2))
    shares = counts / counts.sum(axis=1, keepdims=True)
    even = stats.chi2_contingency(shares * 1000, correction=False).statistic
    assert told["effect"] == pytest.approx(np.sqrt(even / 2000))
    assert told["said"].startswith("not known is new, 30% of patients; c is gone, it was 2%; ")


def test_the_effect_of_a_day_against_years_is_that_of_equal_groups():
    few = compare.balanced_v(np.array([[50_000, 50_000], [16, 4]]))
    assert few == pytest.approx(compare.balanced_v(np.array([[50, 50], [80, 20]])))


def test_p_values_are_corrected_for_all_tests_together():
    random = np.random.default_rng(3)
    sides = [(random.normal(0, 1, 60), random.normal(shift, 1, 60)) for shift in (0, 0, 0.5, 0.9, 0, 0)]
    found, _ = compare.compared([Measure(f"{i}", "number", *side) for i, side in enumerate(sides)])
    ps = sorted(one["p"] for one in found)
    for one in found:
        rank = ps.index(one["p"])
        assert one["q"] == pytest.approx(min(min(ps[i] * len(ps) / (i + 1) for i in range(rank, len(ps))), 1))


def test_without_a_shift_few_of_many_measures_are_said_to_have_moved():
    """The rate of false alarms: of 200 pairs of groups of one kind, each judged alone, about one in twenty."""
    random = np.random.default_rng(4)
    alarms = 0
    for _ in range(200):
        both = random.choice(["a", "b", "c"], (2, 80), p=[0.6, 0.3, 0.1]).tolist()
        alarms += compare.compared([Measure("x", "category", *both)])[0][0]["moved"] != "no difference shown"
    assert 2 <= alarms <= 20


def test_findings_flags_and_windows_are_compared_one_by_one():
    def finding(name, assertion):
        return [{"name": name, "assertion": assertion, "laterality": None}]

    told = {
        one.name: (one.before, one.now)
        for one in measures._of_column("findings", [finding("Edema", "present"), None], [finding("Nodule", "absent")])
    }
    assert told == {
        "findings: Edema": (["present", "not mentioned"], ["not mentioned"]),
        "findings: Nodule": (["not mentioned", "not mentioned"], ["absent"]),
    }
    shown = [json.dumps({"rule": "window", "low": -100, "high": 300}), None]
    told = {one.name: one.before for one in measures._of_column("shown", shown, shown)}
    assert told == {"window: rule": ["window", None], "window: width": [400, None], "window: centre": [100, None]}
