"""Retrieval on models whose right answers are known, and against loops over the definition."""

import json

import numpy as np
import pytest

from mmssl import console, metrics, retrieval
from mmssl.errors import WrongUse
from mmssl.evaluation import rows
from tests.evaluation_oracle import MemoryStore, Oracle

COUNT = 53
TEXTS = [None if i % 10 == 9 else f"text {i % 20}" if i < 40 else f"  text {i} \n" for i in range(COUNT)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Chunks that do not divide the number of rows or queries; nothing shown."""
    monkeypatch.setattr(console, "quiet", True)
    monkeypatch.setattr(rows, "CHUNK", 7)
    monkeypatch.setattr(retrieval, "CELLS", 5 * 47)


def case(*, noise=0.0, seed=0, **columns):
    """Twenty texts that two images have each, a few texts of one image, and images without text."""
    own = [(text or "").strip() for text in TEXTS]
    axes = {text: axis for axis, text in enumerate(dict.fromkeys(own))}
    generator = np.random.default_rng(seed)
    images = np.eye(len(axes))[[axes[text] for text in own]] + noise * generator.normal(size=(COUNT, len(axes)))
    texts = {text: np.eye(len(axes))[axis] for text, axis in axes.items()}
    pairs = [str(i // 2) for i in range(COUNT)]
    store = MemoryStore({"text": TEXTS, "study_id": pairs, "patient_id": [f"p{one}" for one in pairs]} | columns)
    return store, Oracle(images, texts), own


def test_an_oracle_finds_everything():
    store, oracle, own = case()
    found = retrieval.run(oracle, store)
    there = [text for text in own if text]
    for way in ("text_to_image", "image_to_text"):
        for k in (1, 5, 10):
            assert found[way][f"R@{k}"] == found[way][f"R@{k}_study"] == 1
            assert found[way][f"R@{k}_ci"] == [1, 1]
    assert found["text_to_image"]["queries"] == len(set(there)) == found["image_to_text"]["gallery"]
    assert found["text_to_image"]["gallery"] == len(there) == found["image_to_text"]["queries"]
    assert found["without_text"] == COUNT - len(there)
    assert found["hashes"]["checkpoint"] == "hash of oracle"
    assert found["hashes"]["store"] == "c0ffee"
    json.dumps(found, allow_nan=False)


def test_by_a_loop_over_the_definition():
    store, oracle, own = case(noise=0.6)
    found = retrieval.run(oracle, store)
    there = [i for i in range(COUNT) if own[i]]
    distinct = list(dict.fromkeys(own[i] for i in there))
    image = oracle.images[there]
    text = oracle.encode_text(distinct)

    def recall(scores, right):
        return np.mean([any(j in good for j in np.argsort(-row)[:k]) for row, good in zip(scores, right, strict=True)])

    studies = [{i // 2 for i in there if own[i] == one} for one in distinct]
    for k in (1, 5, 10):
        same_text = [{j for j, i in enumerate(there) if own[i] == one} for one in distinct]
        same_study = [{j for j, i in enumerate(there) if i // 2 in of} for of in studies]
        assert found["text_to_image"][f"R@{k}"] == pytest.approx(recall(text @ image.T, same_text))
        assert found["text_to_image"][f"R@{k}_study"] == pytest.approx(recall(text @ image.T, same_study))
        own_text = [{distinct.index(own[i])} for i in there]
        of_study = [{distinct.index(own[j]) for j in there if j // 2 == i // 2} for i in there]
        assert found["image_to_text"][f"R@{k}"] == pytest.approx(recall(image @ text.T, own_text))
        assert found["image_to_text"][f"R@{k}_study"] == pytest.approx(recall(image @ text.T, of_study))
    assert found["text_to_image"]["R@1"] < found["text_to_image"]["R@1_study"]
    low, high = found["text_to_image"]["R@1_ci"]
    assert low < found["text_to_image"]["R@1"] < high
    assert found == retrieval.run(oracle, store)  # seeded


def test_a_model_that_tells_nothing_apart_scores_chance():
    store, oracle, own = case()
    oracle.images[:] = oracle.images[0]
    oracle.texts = dict.fromkeys(oracle.texts, oracle.images[0])
    found = retrieval.run(oracle, store)
    there = [text for text in own if text]
    for way in ("text_to_image", "image_to_text"):
        for kind in ("", "_study"):
            assert found[way][f"R@10{kind}"] == pytest.approx(found[way][f"chance_R@10{kind}"])
    right = np.array([there.count(text) for text in dict.fromkeys(there)])
    assert found["text_to_image"]["chance_R@10"] == pytest.approx(metrics.chance_at_k(right, len(there), 10).mean())
    assert found["image_to_text"]["chance_R@10"] == pytest.approx(10 / len(right))


def test_precision_by_label():
    """An image is as near to every image with its label, so the hits of a text are those with its label."""
    label = [["Left"] if i % 2 else ["Right"] if i % 3 else [] for i in range(COUNT)]
    texts = [f"text {i}" for i in range(COUNT)]
    store = MemoryStore(
        {
            "text": texts,
            "label_truth": label,
            "label_rare": [1 if i < 3 else None if i < 9 else 0 for i in range(COUNT)],
            "label_name": [f"name {i}" for i in range(COUNT)],
        }
    )
    axis = [0 if one == ["Left"] else 1 if one == ["Right"] else 2 for one in label]
    vectors = np.eye(3)[axis]
    oracle = Oracle(vectors, dict(zip(texts, vectors, strict=True)))
    found = retrieval.run(oracle, store)
    by_label = found["text_to_image"]["precision_at_k"]
    assert list(by_label) == ["Left", "Right", "rare"]
    for name, count in (("Left", 26), ("Right", 18)):
        assert by_label[name]["queries"] == count
        assert by_label[name]["P@1"] == by_label[name]["P@10"] == 1
        assert by_label[name]["P@10_ci"] == [1, 1]
        assert by_label[name]["prevalence"] == pytest.approx(count / COUNT)
    assert by_label["rare"]["P@1"] is None
    assert by_label["rare"]["reason"] == "3 queries have it, 5 are needed"
    assert found["warnings"] == ["label_name has 53 different values and is not taken for labels"]
    assert found["image_to_text"]["precision_at_k"]["Left"]["P@5"] == 1
    retrieval.show(found)


def test_patients_are_drawn_and_texts_weigh_the_mean_of_their_images():
    store, _, own = case()
    pairs = retrieval.pairs_in(store.select(columns=["text", "patient_id", "study_id"]))
    weights = np.random.default_rng(1).integers(0, 3, (4, len(pairs.table))).astype(float)
    ours = pairs.weight_texts(weights)
    there = [text for text in own if text]
    for t, text in enumerate(pairs.texts):
        images = [i for i, one in enumerate(there) if one == text]
        assert ours[:, t] == pytest.approx(weights[:, images].mean(axis=1))


def test_where_and_splits():
    store, oracle, _ = case(split=["test"] * 30 + ["train"] * 23)
    assert retrieval.run(oracle, store)["images"] == 30
    assert retrieval.run(oracle, store, split="all", where="study_id = '1'")["images"] == 2
    with pytest.raises(WrongUse, match=r"no rows in the split 'validation'; memory\.store has test 30, train 23"):
        retrieval.run(oracle, store, split="validation")


def test_what_cannot_be_asked_is_refused():
    store, oracle, _ = case(text=[None, " "] * 26 + [""])
    with pytest.raises(WrongUse, match="none of the 53 rows in the split 'test' has a text"):
        retrieval.run(oracle, store)
    store, oracle, _ = case()
    oracle.has_text = False
    with pytest.raises(WrongUse, match="oracle was trained on images alone and has no text tower: it cannot match"):
        retrieval.run(oracle, store)


def test_long_texts_are_counted():
    store, oracle, _ = case()
    oracle.context = 6
    found = retrieval.run(oracle, store)
    long = {text for text in TEXTS if text and len(text.strip()) > 6}
    assert found["texts_cut"] == len(long) > 0
    assert "are longer than oracle reads and are cut" in found["warnings"][0]


def test_no_interval_is_made_up_where_all_rows_are_of_one_patient():
    store, oracle, _ = case(patient_id=["one"] * COUNT)
    assert retrieval.run(oracle, store)["text_to_image"]["R@10_ci"] is None
