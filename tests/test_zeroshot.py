"""Zero-shot classification and calibration on models whose right answers are known."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from scipy.special import softmax as scipy_softmax
from sklearn import metrics as reference

from mmssl import calibration, console, metrics, prompts, zeroshot
from mmssl.errors import CannotDo, WrongUse
from mmssl.evaluation import answers, judge, results, rows
from tests.evaluation_oracle import MemoryStore, Oracle

NAMES = ("Edema", "Mass", "Rare")
ASKED = {
    "column": "label_truth",
    "task": "multi_label",
    "classes": {"Edema": ["edema", "wet lungs"], "Mass": ["mass"], "Rare": ["rare thing"]},
}
REGIONS = {
    "column": "label_region",
    "task": "multi_class",
    "classes": {"Head": ["brain"], "Thorax": ["chest", "lung"], "Abdomen": ["belly"]},
    "templates": ["{}", "image of the {}"],
}


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(console, "quiet", True)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks that do not divide the number of rows."""
    monkeypatch.setattr(rows, "CHUNK", 19)


def truth_of(count, seed=0, shares=(0.4, 0.3, 0.02)):
    generator = np.random.default_rng(seed)
    return (generator.random((count, 3)) < shares).astype(int)


def named(truth):
    return [[name for name, yes in zip(NAMES, row, strict=True) if yes] for row in truth]


def words(asked):
    """A vector for every text: an axis for each class, its opposite for the negative texts."""
    found = {}
    for i, one in enumerate(asked.classes):
        axis = np.eye(len(asked.classes) + 1)[i]
        found |= dict.fromkeys(one.positive, axis) | dict.fromkeys(one.negative, -axis)
    return found


def seeing(truth, *, noise=0.0, seed=1):
    """Images [N, L + 1] that look like their truth, more or less."""
    generator = np.random.default_rng(seed)
    signs = 2.0 * truth - 1 + noise * generator.normal(size=truth.shape)
    return np.concatenate([signs, np.ones((len(truth), 1))], axis=1)


@pytest.fixture
def asked():
    return prompts.build(ASKED)


def case(asked, count=203, *, noise=0.0, **columns):
    """Half of the rows are validation rows, and each patient has two."""
    truth = truth_of(count)
    store = MemoryStore(
        {
            "label_truth": named(truth),
            "split": ["validation" if (i // 2) % 2 else "test" for i in range(count)],
            "patient_id": [f"p{i // 2}" for i in range(count)],
        }
        | columns
    )
    return store, Oracle(seeing(truth, noise=noise), words(asked)), truth


def test_an_oracle_is_exact(asked):
    store, oracle, truth = case(asked)
    found = zeroshot.run([oracle], store, asked).result
    test = [i for i in range(203) if (i // 2) % 2 == 0]
    for i, name in enumerate(NAMES[:2]):
        entry = found["labels"][name]
        assert entry["auroc"] == entry["auprc"] == entry["balanced_accuracy"] == entry["f1"] == 1
        assert entry["auroc_ci"] == [1, 1]
        assert (entry["n"], entry["positives"]) == (len(test), truth[test, i].sum())
        assert entry["reason"] is None
    assert found["macro"]["auroc"] == found["macro"]["balanced_accuracy"] == 1
    assert found["macro"]["auroc_ci"] == [1, 1]
    assert found["macro"]["labels"] == 2
    assert (found["images"], found["patients"]) == (102, 51)
    assert set(oracle.asked) == {19, 102 % 19, 101 % 19}
    json.dumps(found, allow_nan=False)


def test_class_vectors_are_unit_means_of_unit_vectors(asked):
    texts = {"edema": [2, 0, 0], "wet lungs": [0, 5, 0], "no edema": [0, 0, 1], "no wet lungs": [0, 0, 3]}
    texts |= {text: [1, 0, 0] for text in ("mass", "no mass", "rare thing", "no rare thing")}
    positive, negative = answers.class_vectors(Oracle([[1, 0, 0]], texts), asked)
    assert positive[0] == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    assert negative[0] == pytest.approx([0, 0, 1])


def test_a_rare_label_has_no_value_and_is_named(asked):
    store, oracle, _ = case(asked)
    found = zeroshot.run([oracle], store, asked).result
    assert found["left_out"] == ["Rare"]
    rare = found["labels"]["Rare"]
    for key in ("auroc", "auroc_ci", "auprc", "balanced_accuracy", "f1", "ece_before", "ece_after"):
        assert rare[key] is None
    assert rare["positives"] < 5
    assert (
        rare["reason"]
        == f"it has {rare['positives']} positives and {rare['negatives']} negatives, 5 of each are needed"
    )


def test_five_of_each_are_enough_and_four_are_not():
    one = prompts.build({"task": "multi_label", "classes": {"Edema": ["edema"]}, "column": "label_truth"})
    for positives, left_out in ((4, ["Edema"]), (5, []), (25, []), (26, ["Edema"])):
        truth = np.array([[1]] * positives + [[0]] * (30 - positives))
        store = MemoryStore({"label_truth": [["Edema"] if t else [] for t in truth[:, 0]]})
        oracle = Oracle(seeing(truth), words(one))
        assert zeroshot.run([oracle], store, one).result["left_out"] == left_out


def test_values_are_scikit_learns_at_the_validation_threshold(asked):
    store, oracle, truth = case(asked, count=401, noise=1.5)
    outcome = zeroshot.run([oracle], store, asked)
    test = np.array([(i // 2) % 2 == 0 for i in range(401)])
    image, vector = oracle.images, words(asked)
    margin = image[:, 0] - -image[:, 0]  # cos of edema minus that of no edema, both phrases alike
    assert vector["wet lungs"][0] == 1
    p = expit(10 * margin)
    assert outcome.answers.probability[:, 0] == pytest.approx(p[test], abs=1e-6)
    entry = outcome.result["labels"]["Edema"]
    y, q = truth[test, 0], p[test]
    threshold = metrics.best_threshold(truth[~test, 0], p[~test])
    assert entry["threshold"] == pytest.approx(threshold, abs=1e-6)
    assert entry["auroc"] == pytest.approx(reference.roc_auc_score(y, q))
    assert entry["auprc"] == pytest.approx(reference.average_precision_score(y, q))
    assert entry["f1"] == pytest.approx(reference.f1_score(y, q >= threshold))
    assert entry["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, q >= threshold))
    assert entry["ece_before"] == pytest.approx(metrics.expected_calibration_error(y, q), abs=1e-6)
    assert entry["auroc_ci"][0] < entry["auroc"] < entry["auroc_ci"][1]
    judged = [one["auroc"] for name, one in outcome.result["labels"].items() if name not in outcome.result["left_out"]]
    assert outcome.result["macro"]["auroc"] == pytest.approx(np.mean(judged))
    low, high = outcome.result["macro"]["auroc_ci"]
    assert low < np.mean(judged) < high
    assert outcome.result == zeroshot.run([oracle], store, asked).result  # seeded


def test_chexzero_scoring_leaves_the_scale_away():
    plain = prompts.build(ASKED | {"scoring": "chexzero"})
    store, oracle, _ = case(plain, noise=1.0)
    said = zeroshot.run([oracle], store, plain).answers
    pair = np.stack([oracle.images[:, 1], -oracle.images[:, 1]], axis=1)
    test = [i for i in range(203) if (i // 2) % 2 == 0]
    assert said.probability[:, 1] == pytest.approx(scipy_softmax(pair[test], axis=1)[:, 0], abs=1e-6)


def test_checkpoints_are_averaged_as_probabilities(asked):
    store, first, truth = case(asked, noise=1.0)
    second = Oracle(seeing(truth, noise=2.0, seed=9), words(asked), scale=3.0, path="second")
    both = zeroshot.run([first, second], store, asked)
    each = [zeroshot.run([one], store, asked).answers.probability for one in (first, second)]
    assert both.answers.probability == pytest.approx((each[0] + each[1]) / 2)
    assert both.result["hashes"]["checkpoints"] == ["hash of oracle", "hash of second"]
    assert both.result["hashes"]["checkpoint"] not in both.result["hashes"]["checkpoints"]


def test_studies_average_their_images(asked):
    store, oracle, truth = case(asked, noise=1.0, study_id=[None if i == 0 else f"s{i // 2}" for i in range(203)])
    images = zeroshot.run([oracle], store, asked).answers
    studies = zeroshot.run([oracle], store, asked, unit="study")
    said = studies.answers
    assert set(said.rows) == {None}
    assert said.studies[:3] == [None, "s0", "s2"]  # the first image belongs to no study and is its own
    assert said.probability[2] == pytest.approx(images.probability[2:4].mean(axis=0))
    assert said.truth[2].tolist() == truth[[4, 5]].max(axis=0).tolist()  # rows 4 and 5 are the study s2
    assert studies.result["units"] == len(said.studies) == 52
    assert studies.result["images"] == 102


def test_uncertain_and_unknown_truth():
    each = {"task": "multi_label", "classes": {"Edema": ["edema"]}, "columns": {"Edema": "label_edema"}}
    truth = np.array([[1]] * 20 + [[0]] * 20)
    values = [1] * 10 + [-1] * 7 + [None] * 3 + [0] * 20
    store = MemoryStore({"label_edema": values})
    for uncertain, n, positives in (("ignore", 30, 10), ("positive", 37, 17), ("negative", 37, 10)):
        one = prompts.build(each | {"uncertain": uncertain})
        entry = zeroshot.run([Oracle(seeing(truth), words(one))], store, one).result["labels"]["Edema"]
        assert (entry["n"], entry["positives"], entry["uncertain"], entry["not_known"]) == (n, positives, 7, 3)


def test_without_truth_there_are_predictions(asked, tmp_path):
    store, oracle, _ = case(asked)
    store.table = store.table.rename_columns(
        [c.replace("label_truth", "label_truht") for c in store.table.column_names]
    )
    outcome = zeroshot.run([oracle], store, asked)
    assert outcome.result["left_out"] == list(NAMES)
    assert outcome.result["macro"]["auroc"] is None
    assert "no column 'label_truth' in the store, did you mean 'label_truht'?" in outcome.result["warnings"][0]
    results.save(outcome, tmp_path)
    assert pq.read_table(tmp_path / "predictions.parquet").num_rows == 3 * 102
    assert not (tmp_path / "roc.svg").exists()
    results.show(outcome.result)


def test_files(asked, tmp_path):
    store, oracle, _ = case(asked, noise=1.0)
    outcome = zeroshot.run([oracle], store, asked)
    results.save(outcome, tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.column_names == ["row", "study", "label", "probability"]
    test = [i for i in range(203) if (i // 2) % 2 == 0]
    assert table.to_pylist() == [
        {"row": f"{i:016x}", "study": f"s{i}", "label": name, "probability": outcome.answers.probability[place, label]}
        for place, i in enumerate(test)
        for label, name in enumerate(NAMES)
    ]
    held = json.loads((tmp_path / "out" / "zeroshot.json").read_text())
    assert held == outcome.result
    assert held["hashes"]["prompts"] == asked.hash
    assert held["hashes"]["store"] == "c0ffee"
    assert set(held["hashes"]) == {"checkpoint", "checkpoints", "prompts", "split", "store"}
    assert (tmp_path / "out" / "roc.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "out" / "reliability.png").read_bytes().startswith(b"\x89PNG")
    bare = MemoryStore({"split": ["test"] * 203})
    results.save(zeroshot.run([oracle], bare, asked), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"zeroshot.json", "predictions.parquet"}


@pytest.mark.parametrize(
    ("split", "splits", "said"),
    [
        ("test", ["test"] * 203, "no threshold: the store has no validation split"),
        ("all", None, "which is part of the split 'all'"),
        ("validation", None, "which is part of the split 'validation'"),
    ],
)
def test_a_threshold_comes_from_the_validation_split_only(asked, split, splits, said):
    store, oracle, _ = case(asked, **({"split": splits} if splits else {}))
    found = zeroshot.run([oracle], store, asked, split=split).result
    entry = found["labels"]["Edema"]
    assert (entry["threshold"], entry["f1"], entry["balanced_accuracy"], entry["f1_ci"]) == (None, None, None, None)
    assert said in entry["threshold_reason"]
    assert entry["auroc"] == 1
    assert (found["macro"]["f1"], found["macro"]["balanced_accuracy"]) == (None, None)


def test_where_holds_for_test_and_validation(asked):
    ages = [30 + i % 50 for i in range(203)]
    store, oracle, _ = case(asked, age=ages)
    found = zeroshot.run([oracle], store, asked, where="age > 60").result
    old = [i for i in range(203) if ages[i] > 60]
    assert found["images"] == sum((i // 2) % 2 == 0 for i in old)
    assert sum(oracle.asked) == len(old)
    with pytest.raises(WrongUse, match=r"no rows in the split 'test' where age > 90; memory.store has test 102, val"):
        zeroshot.run([oracle], store, asked, where="age > 90")
    with pytest.raises(WrongUse, match="no rows in the split 'train'"):
        zeroshot.run([oracle], store, asked, split="train")


def test_a_label_turned_around_is_pointed_at(asked):
    store, oracle, _ = case(asked, noise=0.5)
    oracle.images[:, 0] *= -1
    warnings = zeroshot.run([oracle], store, asked).result["warnings"]
    assert any("Edema: AUROC 0." in one and "clearly below 0.5" in one for one in warnings)
    assert any("overrides: {Edema: {positive: [...], negative: [...]}}" in one for one in warnings)


def test_labels_that_may_be_turned_around_are_all_in_the_advice(asked):
    names = {name: {"auroc": 0.4, "auroc_ci": [0.3, 0.6]} for name in ("Edema", "Mass")}
    [said] = zeroshot._turned_around(judge.Verdict(labels=names, left_out=[], macro={}, more={}), asked)
    assert "Edema 0.40, Mass 0.40" in said
    assert "give each its own texts: overrides: {Edema: {positive: [...], negative: [...]}, Mass: {" in said


def test_long_prompts_and_lint_are_warned_of():
    odd = prompts.build(ASKED | {"classes": {"Edema": ["edema"], "No Finding": ["normal"]}})
    store, _, truth = case(odd)
    oracle = Oracle(seeing(truth[:, :2]), words(odd), context=7)
    warnings = zeroshot.run([oracle], store, odd).result["warnings"]
    assert "'no normal' says 'no normal'" in warnings[0]
    assert warnings[1] == "2 of 4 prompts are longer than oracle reads and are cut, the first 'no edema'"
    assert "No Finding never occurs in the truth" in warnings[2]


def test_a_model_of_images_alone_is_refused(asked):
    store, oracle, _ = case(asked)
    oracle.has_text = False
    for call in (lambda: zeroshot.run([oracle], store, asked), lambda: zeroshot.fit(oracle, store, asked)):
        with pytest.raises(WrongUse, match="trained on images alone and has no text tower"):
            call()


# ---- one of several classes ----------------------------------------------------------------------------------------


def regions(count=120, noise=0.0):
    asked = prompts.build(REGIONS)
    generator = np.random.default_rng(3)
    number = generator.integers(0, 3, count)
    images = np.eye(4)[number] + noise * generator.normal(size=(count, 4))
    truth = [["Head", "Thorax", "Abdomen"][i] for i in number]
    truth[:4] = ["Foot", "Foot", None, "Hand"]
    return asked, MemoryStore({"label_region": truth}), Oracle(images, words(asked)), number


def test_classes_by_an_oracle():
    asked, store, oracle, number = regions()
    found = zeroshot.run([oracle], store, asked).result
    assert found["macro"]["accuracy"] == found["macro"]["balanced_accuracy"] == found["macro"]["auroc"] == 1
    assert found["left_out_units"] == {"Foot": 2, "null": 1, "Hand": 1}
    assert found["macro"]["n"] == 116
    assert found["confusion"]["classes"] == ["Head", "Thorax", "Abdomen"]
    assert found["confusion"]["rows"] == np.diag(np.bincount(number[4:])).tolist()
    json.dumps(found, allow_nan=False)


def test_classes_are_scikit_learns(tmp_path):
    asked, store, oracle, number = regions(noise=0.8)
    outcome = zeroshot.run([oracle], store, asked)
    y = number[4:]
    p = scipy_softmax(10 * oracle.images[4:, :3], axis=1)
    decided = p.argmax(axis=1)
    found = outcome.result
    assert outcome.answers.probability[4:] == pytest.approx(p, abs=1e-6)
    assert found["macro"]["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, decided))
    assert found["macro"]["accuracy"] == pytest.approx(reference.accuracy_score(y, decided))
    assert found["macro"]["f1"] == pytest.approx(reference.f1_score(y, decided, average="macro"))
    assert found["macro"]["auroc"] == pytest.approx(reference.roc_auc_score(y, p, multi_class="ovr"), abs=1e-6)
    assert found["confusion"]["rows"] == reference.confusion_matrix(y, decided).tolist()
    top = metrics.expected_calibration_error(decided == y, p.max(axis=1))
    assert found["macro"]["ece_before"] == pytest.approx(top, abs=1e-6)
    low, high = found["macro"]["accuracy_ci"]
    assert low < found["macro"]["accuracy"] < high
    results.save(outcome, tmp_path)
    results.show(found)
    predictions = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert len(predictions) == 3 * 120  # also for those left out
    assert sum(one["probability"] for one in predictions[:3]) == pytest.approx(1)


# ---- calibration ---------------------------------------------------------------------------------------------------


def rare(count=4000, seed=5):
    """Two labels of 5 % prevalence whose cosines say too little of it, and one too rare to calibrate."""
    asked = prompts.build(ASKED)
    generator = np.random.default_rng(seed)
    truth = (generator.random((count, 3)) < (0.05, 0.05, 0.001)).astype(int)
    images = np.concatenate(
        [0.02 * (2 * truth - 1) + 0.02 * generator.normal(size=truth.shape), np.ones((count, 1))], 1
    )
    store = MemoryStore(
        {"label_truth": named(truth), "split": ["validation" if i % 2 else "test" for i in range(count)]}
    )
    return asked, store, truth, images


def test_calibration_brings_the_error_down_and_is_reported(tmp_path):
    asked, store, _, images = rare()
    oracle = Oracle(images, words(asked), path=tmp_path)
    raw = zeroshot.run([oracle], store, asked).result
    assert raw["calibrated"] is False
    assert raw["calibration"] == "none for these prompts; `mmssl calibrate` makes one"
    assert raw["macro"]["ece_after"] is None
    fitted = zeroshot.fit(oracle, store, asked)
    path = calibration.write(tmp_path, fitted)
    assert path == tmp_path / "calibration" / f"{asked.hash}.json"
    assert list(fitted.uncalibrated) == ["Rare"]
    assert "positives and" in fitted.uncalibrated["Rare"]
    assert fitted.prevalence["Edema"] == pytest.approx(0.05, abs=0.01)
    results.show_calibration(fitted)

    outcome = zeroshot.run([oracle], store, asked)
    found = outcome.result
    assert found["calibrated"] is True
    assert found["macro"]["ece_before"] > 0.2
    assert found["macro"]["ece_after"] < 0.02
    assert [found["labels"][name]["calibrated"] for name in NAMES] == [True, True, False]
    assert found["macro"]["auroc"] == raw["macro"]["auroc"]
    results.save(outcome, tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.column_names[-1] == "calibrated_probability"
    some = table.slice(0, 3).to_pylist()
    assert some[2]["calibrated_probability"] is None
    assert some[0]["calibrated_probability"] < some[0]["probability"]

    other = prompts.build(ASKED | {"negative": ["without {}"]})
    oracle.texts = words(other)
    assert zeroshot.run([oracle], store, other).result["calibrated"] is False
    same_rows = zeroshot.run([Oracle(images, words(asked), path=tmp_path)], store, asked, split="validation").result
    assert any("fitted on these very rows" in one for one in same_rows["warnings"])


def test_other_weights_and_half_of_an_ensemble_are_not_calibrated(tmp_path):
    asked, store, _, images = rare(count=800)
    oracle = Oracle(images, words(asked), path=tmp_path)
    calibration.write(tmp_path, zeroshot.fit(oracle, store, asked))
    second = Oracle(images, words(asked), path=tmp_path / "second")
    both = zeroshot.run([oracle, second], store, asked).result
    assert both["calibrated"] is False
    assert both["calibration"] == "1 of 2 checkpoints have none for these prompts"
    oracle.hash = "went on training"
    assert zeroshot.run([oracle], store, asked).result["calibrated"] is False


def test_classes_are_calibrated_by_one_temperature(tmp_path):
    asked, store, oracle, number = regions(count=600, noise=0.8)
    oracle.scale, oracle.path = 60.0, tmp_path  # far too sure
    store.table = store.table.set_column(
        store.table.column_names.index("split"), "split", [["validation" if i % 2 else "test" for i in range(600)]]
    )
    fitted = zeroshot.fit(oracle, store, asked)
    half = [i for i in range(600) if i % 2 and i > 3]
    cosines = oracle.images[half, :3]

    def loss(scale):
        return reference.log_loss(number[half], scipy_softmax(scale * cosines, axis=1))

    assert loss(fitted.scale) < min(loss(fitted.scale * 1.05), loss(fitted.scale / 1.05))
    assert fitted.biases == {}
    calibration.write(tmp_path, fitted)
    found = zeroshot.run([oracle], store, asked).result
    assert found["calibrated"] is True
    assert found["macro"]["ece_after"] < 0.5 * found["macro"]["ece_before"]


def test_nothing_to_calibrate_by(asked):
    store, oracle, _ = case(asked, count=24)
    with pytest.raises(
        CannotDo, match=r"(?s)cannot calibrate any label:\n  Edema: \d+ positives and \d+ negatives, 10"
    ):
        zeroshot.fit(oracle, store, asked)
    with pytest.raises(WrongUse, match="no rows in the split 'train'"):
        zeroshot.fit(oracle, store, asked, split="train")
    elsewhere = prompts.build(ASKED | {"column": "label_elsewhere"})
    with pytest.raises(WrongUse, match="nothing to calibrate by: no column 'label_elsewhere'"):
        zeroshot.fit(oracle, store, elsewhere)
    classes, store, oracle, _ = regions(count=12)
    with pytest.raises(CannotDo, match="8 rows have one of the classes as truth, 10 are needed"):
        zeroshot.fit(oracle, store, classes, split="test")


# ---- labels from a table -------------------------------------------------------------------------------------------


def test_labels_from_a_table(asked, tmp_path):
    store, oracle, truth = case(asked)
    bare = MemoryStore({"split": store.table["split"].to_pylist(), "study_id": [f"{i:04d}" for i in range(203)]})
    table = tmp_path / "truth.csv"
    lines = [f"{i:04d},{'|'.join(names)}" for i, names in enumerate(named(truth)) if i != 8]
    table.write_text("\n".join(["StudyInstanceUID,truth", *lines, "0000,Mass|Rare"]) + "\n")
    found = zeroshot.run([oracle], bare, asked, labels=table).result
    assert found["truth"] == {"label_truth": "label_truth"}
    entry = found["labels"]["Edema"]
    assert entry["auroc"] == 1
    assert entry["not_known"] == 2  # row 8, which the table lacks, and row 0, of which it says two things
    assert "label_truth" not in bare.columns


def test_no_interval_is_made_up_where_all_rows_are_of_one_patient():
    one = prompts.build({"task": "multi_label", "classes": {"Edema": ["edema"]}, "column": "label_truth"})
    truth = np.array([[1]] * 6 + [[0]] * 30)
    store = MemoryStore(
        {"label_truth": [["Edema"] if t else [] for t in truth[:, 0]], "patient_id": ["a"] * 36, "study_id": ["s"] * 36}
    )
    entry = zeroshot.run([Oracle(seeing(truth), words(one))], store, one).result["labels"]["Edema"]
    assert entry["auroc"] == 1
    assert entry["auroc_ci"] is None
