"""The protocol chexpert against the same rules written out by hand, with plain loops and scikit-learn as witnesses."""

import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as reference
from sklearn.utils import resample

import mmssl
from mmssl import cli, console, files
from mmssl.errors import WrongUse
from mmssl.evaluation import chexzero, frontal, rows
from mmssl.evaluation.judge import Threshold
from mmssl.evaluation.protocol import Subset
from mmssl.evaluation.report import html
from mmssl.prepare.job import prepare
from mmssl.protocols.chexpert import NAMES, Protocol
from mmssl.train import pretrain
from tests.conftest import ROOT
from tests.evaluation_oracle import MemoryStore, Oracle
from tests.preparing import picture, write_csv

FIVE = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(console, "quiet", True)
    monkeypatch.setattr(rows, "CHUNK", 19)  # does not divide the number of rows


# ---- the rules once more, as plainly as they can be written --------------------------------------------------------


def area_by_pairs(truth, score):
    """Of all pairs of a positive and a negative, how many stand in the right order; a tie is half a pair."""
    positives = [one for one, positive in zip(score, truth, strict=True) if positive == 1]
    negatives = [one for one, positive in zip(score, truth, strict=True) if positive == 0]
    right = 0.0
    for a in positives:
        for b in negatives:
            right += 1.0 if a > b else 0.5 if a == b else 0.0
    return right / (len(positives) * len(negatives))


def average_precision(truth, score):
    """The mean over positives of the share of positives from the top down to each; there are no ties."""
    falling = [one for _, one in sorted(zip(score, truth, strict=True), reverse=True)]
    shares = [sum(falling[: i + 1]) / (i + 1) for i, one in enumerate(falling) if one == 1]
    return sum(shares) / len(shares)


def drawn_rows(patients, draw):
    """The rows of a draw: patients by scikit-learn's `resample` with the number of the draw as its seed."""
    names = list(dict.fromkeys(patients))
    found = []
    for place in resample(np.arange(len(names)), replace=True, random_state=draw):
        found += [row for row, patient in enumerate(patients) if patient == names[place]]
    return found


def interval_by_sorting(values):
    """The 25th and the 975th of a thousand."""
    found = sorted(value for value in values if value == value)
    assert len(found) == 1000
    return [found[24], found[974]]


def answers(count=45, labels=2, *, seed=0, ties=True, studies_a_patient=2):
    """Random truth and answers, with ties and with truth that is not known."""
    generator = np.random.default_rng(seed)
    truth = (generator.random((count, labels)) < 0.4).astype(float)
    score = generator.random((count, labels)) * 0.24 + 0.4
    if ties:
        score = score.round(2)
        truth[generator.random((count, labels)) < 0.1] = np.nan
    return truth, score, [f"p{i // studies_a_patient}" for i in range(count)]


def without_threshold(names):
    return {name: Threshold(None, "none here") for name in names}


def test_auroc_and_intervals_are_those_of_plain_loops():
    truth, score, patients = answers()
    verdict = chexzero.judge(["A", "B"], truth, score, patients, thresholds=without_threshold("AB"))
    areas = []
    for i, name in enumerate("AB"):
        known = [row for row in range(45) if truth[row, i] == truth[row, i]]
        entry = verdict.labels[name]
        assert entry["auroc"] == pytest.approx(area_by_pairs(truth[known, i], score[known, i]), abs=1e-12)
        assert entry["auroc"] == pytest.approx(reference.roc_auc_score(truth[known, i], score[known, i]), abs=1e-12)
        draws = [drawn_rows(patients, draw) for draw in range(1000)]
        areas.append([area_by_pairs(truth[d, i], score[d, i]) for d in draws])
        assert entry["auroc_ci"] == pytest.approx(interval_by_sorting(areas[-1]), abs=1e-12)
        assert entry["auroc_mean"] == pytest.approx(sum(areas[-1]) / 1000, abs=1e-12)
        assert (entry["n"], entry["positives"]) == (len(known), int((truth[:, i] == 1).sum()))
        assert len(set(score[:, i])) < 30  # there are ties
    mean = chexzero.mean(verdict, ["A", "B"])
    both = [(a + b) / 2 for a, b in zip(*areas, strict=True)]
    assert mean["auroc"] == pytest.approx((verdict.labels["A"]["auroc"] + verdict.labels["B"]["auroc"]) / 2, abs=1e-12)
    assert mean["auroc_ci"] == pytest.approx(interval_by_sorting(both), abs=1e-12)


def test_where_a_patient_has_one_study_the_draws_are_of_images_as_in_chexzero():
    truth, score, patients = answers(120, 1, ties=False, studies_a_patient=1)
    entry = chexzero.judge(["A"], truth, score, patients, thresholds=without_threshold("A")).labels["A"]
    areas = []
    for draw in range(1000):
        images = resample(np.arange(120), replace=True, random_state=draw)
        areas.append(reference.roc_auc_score(truth[images, 0], score[images, 0]))
    assert entry["auroc_ci"] == pytest.approx(interval_by_sorting(areas), abs=1e-12)
    assert entry["auprc"] == pytest.approx(average_precision(truth[:, 0], score[:, 0]), abs=1e-12)


def test_blocks_of_draws_change_nothing(monkeypatch):
    patients = answers(45)[2]
    whole = np.concatenate(list(chexzero.draw(patients, 30)))
    monkeypatch.setattr(chexzero, "_CELLS", 45 * 7)
    blocks = list(chexzero.draw(patients, 30))
    assert [len(one) for one in blocks] == [7, 7, 7, 7, 2]
    assert (np.concatenate(blocks) == whole).all()


def test_a_label_of_one_class_is_undefined_and_left_out_of_the_mean():
    truth, score, patients = answers(45, 3)
    truth[:, 1] = np.where(np.isnan(truth[:, 1]), np.nan, 0)
    truth[:, 2] = np.nan
    verdict = chexzero.judge(list("ABC"), truth, score, patients, thresholds=without_threshold("ABC"))
    assert verdict.labels["B"]["auroc"] is verdict.labels["B"]["auroc_ci"] is verdict.labels["B"]["auprc"] is None
    assert verdict.labels["B"]["reason"].startswith("positives 0, negatives ")
    assert verdict.labels["C"]["reason"] == "nothing is known of it"
    mean = chexzero.mean(verdict, list("ABC"))
    assert (mean["labels"], mean["of"], mean["missing"]) == (1, 3, ["B", "C"])
    assert (mean["auroc"], mean["auroc_ci"]) == (verdict.labels["A"]["auroc"], verdict.labels["A"]["auroc_ci"])


def test_draws_without_a_positive_are_counted_and_too_many_give_no_interval():
    truth = np.array([[1.0]] + [[0.0]] * 29)
    score = np.linspace(0, 1, 30)[:, None]
    patients = [f"p{i}" for i in range(30)]
    entry = chexzero.judge(["A"], truth, score, patients, thresholds=without_threshold("A")).labels["A"]
    without = sum(0 not in resample(np.arange(30), replace=True, random_state=draw) for draw in range(1000))
    assert 300 < entry["draws_without"] == without < 450
    assert entry["auroc"] == 0
    few = chexzero.interval(np.array([0.5] * 4 + [np.nan] * 6))
    assert few is None


# ---- one frontal image a study -------------------------------------------------------------------------------------


def test_the_image_of_a_study_is_the_one_that_the_rule_names():
    generator = np.random.default_rng(3)
    order = ["PA", "AP", "FRONTAL"]
    for _ in range(50):
        count = int(generator.integers(1, 40))
        studies = [f"s{generator.integers(0, 12)}" for _ in range(count)]
        said = ["PA", "ap", " AP", "Frontal", "LATERAL", "LL", "unknown", "", None]
        views = [generator.choice(said) for _ in studies]
        keys = [(f"file{n}", "id") for n in generator.permutation(count)]
        chosen = frontal.one_each(studies, views, keys, order=order)
        expected, lateral, unsure = [], 0, 0
        for study in set(studies):
            candidates = []
            for place in range(count):
                view = (views[place] or "").strip().upper()
                if studies[place] == study and view in order:
                    candidates.append((order.index(view), keys[place], place))
            if candidates:
                expected.append(sorted(candidates)[0][2])
                continue
            known = all((views[p] or "").strip().upper() not in ("", "UNKNOWN")
                        for p in range(count) if studies[p] == study)  # fmt: skip
            lateral, unsure = lateral + known, unsure + (not known)
        assert sorted(chosen.places) == sorted(expected)
        assert [keys[place] for place in chosen.places] == sorted(keys[place] for place in expected)
        assert chosen.studies_left == {"no frontal view": lateral, "view not known": unsure}
        assert len(chosen.places) + sum(chosen.images_left.values()) == count
        assert sum(chosen.views.values()) == len(chosen.places)
        assert len(chosen.places) + lateral + unsure == len(set(studies))


# ---- the whole protocol --------------------------------------------------------------------------------------------


def vector_of(text, width=12):
    return np.random.default_rng(files.number_of(text) % 2**32).normal(size=width)


class Words(dict):
    """A random vector for every text."""

    def __missing__(self, text):
        return vector_of(text)


def columns_of(truth):
    """label_NAME columns; every other one with its words joined by an underscore, in small letters."""
    return {
        f"label_{name if i % 2 else name.lower().replace(' ', '_')}": [None if v != v else int(v) for v in truth[:, i]]
        for i, name in enumerate(NAMES)
    }


def case(count=211, *, seed=0, **columns):
    """Studies of one to three images of all views, two studies a patient, half of the patients in validation."""
    generator = np.random.default_rng(seed)
    study = np.sort(generator.integers(0, count // 2, count))
    of_study = (generator.random((count, 14)) < 0.35).astype(float)
    of_study[generator.random((count, 14)) < 0.05] = np.nan
    of_study[generator.random((count, 14)) < 0.05] = -1
    truth = of_study[study]
    store = MemoryStore(
        {
            "id": [f"{n:016x}" for n in generator.permutation(count)],
            "source_id": [f"CheXpert/test/patient{n:05d}.jpg" for n in generator.permutation(count)],
            "study_id": [f"s{n}" for n in study],
            "patient_id": [f"p{n // 2}" for n in study],
            "split": ["validation" if n // 2 % 2 else "test" for n in study],
            "view": [str(v) for v in generator.choice(["PA", "AP", "LATERAL", "unknown"], count)],
        }
        | columns_of(truth)
        | columns
    )
    return store, Oracle(generator.normal(size=(count, 12)), Words(), scale=50.0), truth


def judged(protocol, oracles, store, **subset):
    return protocol.judge(oracles, store, protocol.choose(store, Subset(**subset)))


def literal_selection(store, split):
    """Row numbers: the first PA film of a study by file name, else its first AP film; in the order of file names."""
    table = store.select().to_pylist()
    found = {}
    for view in ("AP", "PA"):
        for row in sorted(table, key=lambda one: one["source_id"], reverse=True):
            if row["view"] == view and row["split"] == split:
                found[row["study_id"]] = row
    return sorted(found.values(), key=lambda one: one["source_id"])


def literal_probability(models, store, chosen, label):
    """exp(cos+) / (exp(cos+) + exp(cos-)) of "X" and "no X", the mean over models."""
    positive, negative = (label.lower(), f"no {label.lower()}")
    if label == "No Finding":
        positive, negative = "normal chest radiograph", "abnormal chest radiograph"
    each = []
    for model in models:
        images = model.encode_rows(store, [row["row"] for row in chosen]).astype(float)
        texts = [model.encode_text([text])[0].astype(float) for text in (positive, negative)]
        texts = [text / np.sqrt((text**2).sum()) for text in texts]  # float32 is not quite of length one
        up, down = (np.exp([sum(a * b for a, b in zip(one, text, strict=True)) for one in images]) for text in texts)
        each.append(up / (up + down))
    return np.mean(each, axis=0)


def literal_threshold(truth, score):
    """Of all scores the one that gives the highest MCC, of several the lowest."""
    best = (-2.0, 0.0)
    for limit in sorted(set(score)):
        value = reference.matthews_corrcoef(truth, score >= limit)
        if value > best[0] + 1e-12:
            best = (value, limit)
    return best[1]


def test_on_random_predictions_all_numbers_are_those_of_the_rules_written_out():
    store, oracle, _ = case()
    second = Oracle(np.random.default_rng(9).normal(size=(211, 12)), Words(), scale=3.0)
    found = judged(Protocol(), [oracle, second], store)
    test, validation = literal_selection(store, "test"), literal_selection(store, "validation")
    patients = [row["patient_id"] for row in test]
    assert len(set(patients)) < len(patients)  # some have two studies
    names = dict(zip(NAMES, [name for name in store.columns if name.startswith("label_")], strict=True))
    in_draws = {}
    for label in NAMES:
        entry = found.result["labels"][label]
        known = [i for i, row in enumerate(test) if row[names[label]] in (0, 1)]
        truth = [test[i][names[label]] for i in known]
        score = literal_probability([oracle, second], store, test, label)
        assert entry["auroc"] == pytest.approx(reference.roc_auc_score(truth, score[known]), abs=1e-9)
        assert entry["auprc"] == pytest.approx(reference.average_precision_score(truth, score[known]), abs=1e-9)
        assert entry["uncertain"] == sum(row[names[label]] == -1 for row in test)
        assert entry["not_known"] == sum(row[names[label]] is None for row in test)
        held = [row for row in validation if row[names[label]] in (0, 1)]
        held_score = literal_probability([oracle, second], store, held, label)
        limit = literal_threshold([row[names[label]] for row in held], held_score)
        assert entry["threshold"] == pytest.approx(limit, abs=1e-9)
        called = score[known] >= limit - 1e-9
        assert entry["mcc"] == pytest.approx(reference.matthews_corrcoef(truth, called), abs=1e-9)
        assert entry["f1"] == pytest.approx(reference.f1_score(truth, called), abs=1e-9)
        if label in FIVE:
            all_truth = {i: test[i][names[label]] for i in known}
            in_draws[label] = []
            for draw in range(1000):
                drawn = [i for i in drawn_rows(patients, draw) if i in all_truth]
                in_draws[label].append(area_by_pairs([all_truth[i] for i in drawn], score[drawn].tolist()))
            assert entry["auroc_ci"] == pytest.approx(interval_by_sorting(in_draws[label]), abs=1e-9)
    mean = found.result["means"]["5"]
    areas = [found.result["labels"][label]["auroc"] for label in FIVE]
    assert mean["auroc"] == pytest.approx(sum(areas) / 5)
    means = [sum(five) / 5 for five in zip(*in_draws.values(), strict=True)]
    assert mean["auroc_ci"] == pytest.approx(interval_by_sorting(means), abs=1e-9)
    assert found.result["headline"] == {
        "name": "mean AUROC of 5", "value": mean["auroc"], "interval": mean["auroc_ci"]
    }  # fmt: skip
    every = [found.result["labels"][label]["auroc"] for label in NAMES]
    assert found.result["means"]["14"]["auroc"] == pytest.approx(sum(every) / 14)
    assert found.result["counts"]["judged"] == len(test)
    json.dumps(found.result, allow_nan=False)


def test_no_finding_as_published_stands_apart():
    store, oracle, _ = case()
    found = judged(Protocol(), [oracle], store).result
    test = literal_selection(store, "test")
    known = [i for i, row in enumerate(test) if row["label_no_finding"] in (0, 1)]
    images = oracle.encode_rows(None, [row["row"] for row in test]).astype(float)
    up, down = (images @ oracle.encode_text([text])[0] for text in ("no finding", "no no finding"))
    area = reference.roc_auc_score([test[i]["label_no_finding"] for i in known], (up - down)[known])
    assert found["as_published"]["No Finding"]["auroc"] == pytest.approx(area, abs=1e-9)
    assert list(found["labels"]) == list(NAMES)
    texts = [text for one in found["prompts"].values() for side in one.values() for text in side]
    assert "no no finding" not in texts
    pair = {"positive": ["pleural effusion"], "negative": ["no pleural effusion"]}
    assert found["prompts"]["Pleural Effusion"] == pair


@pytest.mark.parametrize(
    ("subset", "columns", "said"),
    [
        ({"split": "validation"}, {}, "which is part of the split 'validation'"),
        ({"split": "all"}, {}, "which is part of the split 'all'"),
        ({}, {"split": ["test"] * 211}, "the store has no validation split"),
    ],
)
def test_no_threshold_is_taken_from_the_rows_that_are_judged(subset, columns, said):
    store, oracle, _ = case(**columns)
    found = judged(Protocol(), [oracle], store, **subset).result
    for one in found["labels"].values():
        assert (one["mcc"], one["f1"], one["threshold"], one["mcc_ci"]) == (None, None, None, None)
        assert said in one["threshold_reason"]
        assert one["auroc"] is not None
    assert (found["means"]["5"]["f1"], found["means"]["5"]["without_threshold"]) == (None, FIVE)


def test_uncertain_truth_counts_as_the_modified_protocol_says():
    store, oracle, _ = case()
    test = literal_selection(store, "test")
    unsure = sum(row["label_Edema"] == -1 for row in test)
    yes = sum(row["label_Edema"] == 1 for row in test)
    assert unsure
    for uncertain, positives in (("ignore", yes), ("positive", yes + unsure), ("negative", yes)):
        entry = judged(Protocol(uncertain=uncertain), [oracle], store).result["labels"]["Edema"]
        assert entry["positives"] == positives
        known = sum(row["label_Edema"] in (0, 1) for row in test)
        assert entry["n"] == known + (unsure if uncertain != "ignore" else 0)


def test_labels_that_a_store_lacks_are_left_out_and_said():
    store, oracle, _ = case()
    store.table = store.table.drop_columns(["label_Edema", "label_atelectasis"])
    found = judged(Protocol(), [oracle], store).result
    assert found["labels"]["Edema"]["reason"] == "nothing is known of it"
    assert found["means"]["5"]["missing"] == ["Atelectasis", "Edema"]
    assert found["headline"]["name"] == "mean AUROC of 3 of the 5"
    assert "the mean of 5 is here that of 3 labels" in found["warnings"][-2]
    assert "Edema" not in found["truth"]


def test_lists_of_findings_say_nothing_of_what_they_never_name():
    count = 60
    lists = [[["Edema", "Fracture"], ["Right Rib Fracture"], []][i % 3] for i in range(count)]
    lists[7] = None
    store = MemoryStore({"label_findings": lists, "view": ["PA"] * count})
    oracle = Oracle(np.random.default_rng(0).normal(size=(count, 12)), Words())
    found = judged(Protocol(), [oracle], store).result
    assert found["truth"] == {"Edema": "label_findings", "Fracture": "label_findings"}
    assert (found["labels"]["Edema"]["n"], found["labels"]["Edema"]["positives"]) == (59, 20)
    assert found["labels"]["Pneumonia"]["n"] == 0
    other = MemoryStore({"label_truth": lists, "view": ["PA"] * count})
    assert judged(Protocol(), [oracle], other, column="label_truth").result["truth"]["Edema"] == "label_truth"
    with pytest.raises(WrongUse, match="label_truth has lists that name Edema, Fracture: column=label_truth judges by"):
        judged(Protocol(), [oracle], other)
    with pytest.raises(WrongUse, match=r"column=label_thruth: there is no such column, did you mean 'label_truth'\?"):
        judged(Protocol(), [oracle], other, column="label_thruth")


def test_a_store_hears_of_everything_it_lacks_at_once():
    store = MemoryStore({"view": ["LATERAL", "unknown", "LATERAL"], "label_site": ["a", "b", "c"]})
    with pytest.raises(WrongUse) as error:
        Protocol().choose(store, Subset())
    said = str(error.value)
    assert said.startswith("2 problems in the store memory.store for the protocol chexpert")
    assert "no `view` is PA or AP or FRONTAL (LATERAL 2, unknown 1)" in said
    assert "no labels: it needs label_Atelectasis, label_Cardiomegaly ..." in said
    assert "mmssl prepare SOURCE STORE --labels TABLE" in said
    bare = MemoryStore({"label_Edema": [1, 0, 2]})
    with pytest.raises(WrongUse, match=r"(?s)\(nothing 3\).*label_Edema is the truth of one label.* 2 \(1 rows\)"):
        Protocol().choose(bare, Subset())
    twice = MemoryStore({"label_Edema": [1], "label_edema": [1], "view": ["PA"]})
    with pytest.raises(WrongUse, match="label_Edema and label_edema both say Edema: remove one"):
        Protocol().choose(twice, Subset())


def test_labels_from_a_table(tmp_path):
    store, oracle, _ = case()
    names = [name for name in store.columns if name.startswith("label_")]
    lines = [{"row": row["id"], "Edema": row["label_Edema"]} for row in store.select().to_pylist()]
    table = write_csv(tmp_path / "truth.csv", [line | {"Edema": "" if line["Edema"] is None else line["Edema"]}
                                               for line in lines])  # fmt: skip
    whole = judged(Protocol(), [oracle], store).result["labels"]["Edema"]
    store.table = store.table.drop_columns(names)
    found = judged(Protocol(), [oracle], store, labels=table).result
    assert found["truth"] == {"Edema": "label_Edema"}
    assert found["labels"]["Edema"] == whole


def test_a_label_below_chance_is_warned_of():
    store, oracle, truth = case()
    edema = np.where(truth[:, NAMES.index("Edema")] == 1, 1.0, -1.0)
    oracle.images = oracle.images * 0.1 - edema[:, None] * (vector_of("edema") - vector_of("no edema"))
    warnings = judged(Protocol(), [oracle], store).result["warnings"]
    assert any(one.startswith("Edema: AUROC 0.0") and "clearly below 0.5" in one for one in warnings)


# ---- frozen --------------------------------------------------------------------------------------------------------

FROZEN = "9fd83fcc042ef1e14195ef4fddd6dbc5ebb6a27d180651ffea86a0e993c6e0aa"


def hash_of(**options):
    return files.hash_json(Protocol(**options).definition())


def test_the_definition_is_frozen():
    """Another hash is another protocol: give it another version, and say so in the changelog."""
    assert hash_of() == FROZEN


def test_the_hash_is_the_same_in_every_process():
    program = (
        "from mmssl import files; from mmssl.protocols.chexpert import Protocol;"
        "print(files.hash_json(Protocol().definition()))"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        )
        assert done.stdout.strip() == hash_of()


def test_whatever_changes_the_protocol_changes_its_hash(monkeypatch):
    changed = [
        {"positive": ("{} is seen",)}, {"negative": ("without {}",)}, {"positive": ("{}", "{} is seen")},
        {"uncertain": "positive"}, {"views": ("AP", "PA")}, {"draws": 999},
    ]  # fmt: skip
    assert len({hash_of(), *(hash_of(**one) for one in changed)}) == 1 + len(changed)
    before = hash_of()
    monkeypatch.setattr("mmssl.protocols.chexpert.NORMAL", "normal film")
    assert hash_of() != before


# ---- the command, on a real store and a real checkpoint ------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with views and labels, and two checkpoints that were hardly trained on it."""
    folder = tmp_path_factory.mktemp("chexpert")
    generator = np.random.default_rng(0)
    lines = []
    for number in range(90):
        picture(number).save(folder / f"{number:03d}.png")
        labels = {f"label_{name}": int(generator.random() < 0.4) for name in NAMES}
        lines.append(
            {"image": f"{number:03d}.png", "text": f"Film {number}. No edema.", "patient_id": f"p{number // 2}",
             "study_id": f"s{number // 2}", "view": str(generator.choice(["PA", "AP", "LATERAL"])),
             "split": ["train", "validation", "test"][number // 2 % 3]} | labels
        )  # fmt: skip
    prepare(write_csv(folder / "table.csv", lines), folder / "store", workers=1, overrides=["clean=off"])
    for seed in (0, 1):
        pretrain(
            ROOT / "configs" / "pretrain" / "tiny.yaml", f"data.path={folder / 'store'}", f"run={folder / str(seed)}",
            "data.batch_size=8", "data.workers=0", "validation.every=100", "log.trackers=[]", "optim.steps=2",
            f"seed={seed}",
        )  # fmt: skip
    return folder


def test_the_command_by_the_papers_rule_on_two_checkpoints(made, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(console, "quiet", False)
    models = [made / str(seed) / "checkpoint" for seed in (0, 1)]
    words = ["evaluate", "chexpert", *map(str, models), str(made / "store"), f"out={tmp_path / 'out'}", "batch=7"]
    assert cli.run(words) == 0
    shown = capsys.readouterr()
    assert "mean of 5" in shown.out
    assert "95 %" in shown.out
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"results.json", "predictions.parquet", "report.html", "roc.svg"}

    store = mmssl.Store(made / "store")
    chosen = literal_selection(store, "test")
    loaded = [mmssl.load(path) for path in models]
    predictions = pq.read_table(out / "predictions.parquet").to_pylist()
    assert [one["row"] for one in predictions[::14]] == [row["id"] for row in chosen]
    for place, label in enumerate(NAMES):
        expected = literal_probability(loaded, store, chosen, label)
        assert [one["probability"] for one in predictions[place::14]] == pytest.approx(expected, abs=1e-6)
        assert [one["truth"] for one in predictions[place::14]] == [row[f"label_{label}"] for row in chosen]
        assert {one["label"] for one in predictions[place::14]} == {label}

    result = json.loads((out / "results.json").read_text())
    assert result["protocol"]["hash"] == result["hashes"]["protocol"] == FROZEN
    assert result["protocol"]["modified"] == []
    assert files.hash_json(result["protocol"]["definition"]) == FROZEN
    assert result["hashes"]["rows"] == files.hash_json(sorted(row["id"] for row in chosen))
    assert result["store"] == {
        "path": str(made / "store"), "version": 1, "content_hash": store.content_hash
    }  # fmt: skip
    assert [one["hash"] for one in result["checkpoints"]] == [one.hash for one in loaded]
    counts = result["counts"]
    assert counts["judged"] + sum(counts["images_left"].values()) == counts["images"] == 30
    page = (out / "report.html").read_text()
    assert FROZEN in page
    assert "no no finding" in page
    assert "<script" not in page


def test_a_modified_protocol_says_so(made, tmp_path, capsys):
    words = [str(made / "0" / "checkpoint"), str(made / "store")]
    assert cli.run(["evaluate", "chexpert", *words, "draws=50", "-q", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "chexpert (modified), test" in shown.out
    assert "warning: not the protocol chexpert as published: draws: 50 instead of 1000" in shown.err
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert result["protocol"]["modified"] == ["draws: 50 instead of 1000"]
    assert result["hashes"]["protocol"] != FROZEN
    assert "chexpert (modified)" in (tmp_path / "out" / "report.html").read_text()


def test_a_subset_is_said_and_hashed(made):
    paths = (made / "0", made / "store")
    whole = mmssl.evaluate("chexpert", *paths, "draws=20")
    some = mmssl.evaluate("chexpert", *paths, "draws=20", "where=view = 'AP'")
    assert some["where"] == "view = 'AP'"
    assert some["hashes"]["protocol"] == whole["hashes"]["protocol"]
    assert some["hashes"]["rows"] != whole["hashes"]["rows"]
    assert some["counts"]["views"] == {"AP": some["counts"]["judged"]}


def test_rows_that_were_trained_on_are_refused_unless_allowed(made, tmp_path, capsys):
    words = ["evaluate", "chexpert", str(made / "0"), str(made / "store"), "--split", "train", "draws=20"]
    assert cli.run([*words, "--out", str(tmp_path / "refused")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "30 of 30 images were trained on: 30 by 15 patients" in said
    assert "--overlap allow" in said
    assert not (tmp_path / "refused").exists()
    assert cli.run([*words, "--overlap", "allow", "--out", str(tmp_path / "out")]) == 0
    assert "this was allowed, and the measures count them in" in " ".join(capsys.readouterr().err.split())
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {name: result["overlap"][name] for name in ("images", "of", "patients", "allowed")} == {
        "images": 30, "of": 30, "patients": 15, "allowed": True,
    }  # fmt: skip
    assert any("30 of 30 images were trained on" in one for one in result["warnings"])
    assert mmssl.evaluate("chexpert", made / "0", made / "store", "draws=20")["overlap"]["images"] == 0


def test_protocols_are_listed(capsys):
    assert cli.run(["evaluate", "list"]) == 0
    shown = capsys.readouterr().out
    assert "chexpert" in shown
    assert FROZEN[:40] in shown
    assert cli.run(["evaluate", "--help"]) == 0
    assert "The protocol's name: chexpert" in " ".join(capsys.readouterr().out.replace("│", " ").split())


OWN = '''
from mmssl.protocols import chexpert


class Protocol(chexpert.Protocol):
    """Ours, of other views."""

    def __init__(self, *, draws: int = 30) -> None:
        super().__init__(views=("AP",), draws=draws)
'''


def test_a_protocol_of_ones_own_is_a_dotted_path(made, tmp_path, monkeypatch):
    (tmp_path / "my_lab_rules").mkdir()
    (tmp_path / "my_lab_rules" / "__init__.py").touch()
    (tmp_path / "my_lab_rules" / "ours.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    found = mmssl.evaluate("my_lab_rules.ours", made / "0", made / "store")
    assert (found["protocol"]["name"], found["protocol"]["what"]) == ("my_lab_rules.ours", "Ours, of other views.")
    assert found["protocol"]["modified"] == []
    assert set(found["counts"]["views"]) == {"AP"}
    assert found["hashes"]["protocol"] != FROZEN


def test_wrong_use_is_said_at_once(made, tmp_path, capsys):
    words = [str(made / "0" / "checkpoint"), str(made / "store")]
    assert cli.run(["evaluate", "chexpret", *words, "batch=0", "splitt=test"]) == 2
    said = capsys.readouterr().err
    assert "no such part in protocols: 'chexpret', did you mean 'chexpert'?; there are chexpert" in said
    assert "batch" in said
    assert cli.run(["evaluate", "chexpert", *words, "batch=0", "drews=5", "device=3"]) == 2
    said = capsys.readouterr().err
    assert "2 problems in the config" in said
    assert "drews: unknown key, did you mean 'draws'?" in said
    assert cli.run(["evaluate", "chexpert", *words, "device=tpu"]) == 2
    assert "device=tpu: this machine has " in capsys.readouterr().err
    assert cli.run(["evaluate", "chexpert", *words, "positive=['seen']"]) == 2
    assert "templates with {} for the finding" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert cli.run(["evaluate", "chexpert", *words, "--out", str(tmp_path / "file")]) == 2
    assert "is a file; name a folder" in capsys.readouterr().err


def test_a_page_of_results_without_any_value():
    store = MemoryStore({"label_Edema": [0, 0, 0], "view": ["PA"] * 3, "site": ["<b>"] * 3})
    oracle = Oracle(np.random.default_rng(0).normal(size=(3, 12)), Words())
    found = judged(Protocol(), [oracle], store)
    told = {"name": "chexpert", "what": "", "modified": []}
    result = found.result | {
        "protocol": told, "split": "test", "where": "site = '<b>'", "mmssl": "0", "checkpoints": [],
        "hashes": {"protocol": "", "rows": ""}, "store": {"path": "s", "version": 1, "content_hash": ""},
    }  # fmt: skip
    shown = html(result, found.curves)
    assert "mean AUROC of 0 of the 5 not defined" in shown
    assert found.result["warnings"] == ["none of the 5 labels has an AUROC", "none of the 14 labels has an AUROC"]
    assert "positives 0, negatives 3: with one class alone" in shown
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown


def test_the_page_to_read_finds_what_the_protocol_finds(made, tmp_path):
    paths = [made / "0" / "checkpoint", made / "store", tmp_path / "out"]
    subprocess.run([sys.executable, "-m", "eval.chexpert", *map(str, paths)], check=True, cwd=ROOT, capture_output=True)
    by_hand = json.loads((tmp_path / "out" / "by_hand.json").read_text())
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert by_hand["mean"]["auroc"] == pytest.approx(result["headline"]["value"], abs=1e-9)
    assert by_hand["mean"]["auroc_ci"] == pytest.approx(result["headline"]["interval"], abs=1e-9)
    assert set(by_hand["labels"]) == set(FIVE)


def test_what_the_document_tells_to_type_is_understood(calls, capsys):
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 2
    for command in commands:
        assert cli.run(shlex.split(command)[1:]) == 0
    assert [name for name, _, _ in calls] == ["evaluate"]
    named = re.findall(r"`((?:mmssl|eval)/[\w./]+)`", text)
    assert named
    assert all((ROOT / path).exists() for path in named if "NAME" not in path)
    for one in Protocol().definition()["images"]["first by view"]:
        assert one in text
