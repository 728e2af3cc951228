"""The loader: an order that is a function of seed and epoch, texts that are what the store says, nothing mixed up."""

import itertools

import datasets
import numpy as np
import pytest
import torch

from mmssl.data.batches import (
    Collate,
    Lookup,
    Order,
    Reading,
    Samples,
    all_passages,
    draw_passage,
    loader,
    passages,
    training_rows,
)
from mmssl.data.store import Store
from mmssl.errors import WrongUse
from mmssl.files import number_of
from mmssl.plugins import find
from mmssl.prepare.job import prepare
from tests.pairs import make_store
from tests.preparing import picture, write_csv


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def rows(store):
    return training_rows(store)


@pytest.fixture(scope="module")
def tokenizer():
    return find("encoders", "tiny_text")().tokenizer


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_files_of_any_mode_are_read_as_the_store_shows_them(tmp_path, channels, mode):
    given = {
        "1.png": picture(1).convert("1"), "2.png": picture(2, channels=3).convert("P"), "3.png": picture(3, channels=4),
        "4.png": picture(4, channels=2), "5.jpg": picture(5, channels=3).convert("CMYK"), "6.png": picture(6),
    }  # fmt: skip
    table = write_csv(tmp_path / "in/t.csv", [{"image": name} for name in given])
    for name, one in given.items():
        one.save(tmp_path / "in" / name, **({"transparency": 200} if name == "6.png" else {}))
    prepare(table, tmp_path / "out", workers=1, split="train", clean=False)
    store = Store(tmp_path / "out")
    rows = training_rows(store)
    samples = Samples(rows, Reading(size=40, channels=channels))
    shown = datasets.load_dataset(str(store.path), cache_dir=str(tmp_path / "cache"))["train"]
    for place, told in enumerate(store.select(columns=["source_id"]).to_pylist()):
        assert store.image_bytes(told["row"]) == (tmp_path / "in" / told["source_id"]).read_bytes()
        wanted = store.image(told["row"]).convert(mode)
        np.testing.assert_allclose(np.asarray(samples.open(place), int), np.asarray(wanted, int), atol=1)
        assert samples[(0, place)][0].shape == (1, channels, 40, 40)
        assert shown[place]["image"].size == wanted.size


def test_an_epoch_is_a_permutation_and_the_next_is_another():
    order = Order(50, 8, seed=3)
    steps = list(itertools.islice(order, 12))
    first = [place for step in steps[:6] for _, place in step]
    second = [place for step in steps[6:] for _, place in step]
    assert len(set(first)) == len(first) == 48
    assert len(set(second)) == 48
    assert first != second
    assert {epoch for step in steps[:6] for epoch, _ in step} == {0}


def test_starting_later_gives_the_rest_of_the_same_order():
    whole = list(itertools.islice(Order(50, 8, seed=3), 14))
    assert list(itertools.islice(Order(50, 8, seed=3, start=5), 9)) == whole[5:]
    assert list(itertools.islice(Order(50, 8, seed=4), 14)) != whole


def test_processes_share_each_batch_and_together_have_it_whole():
    whole = list(itertools.islice(Order(50, 8, seed=3), 7))
    shares = [list(itertools.islice(Order(50, 8, seed=3, rank=r, world_size=4), 7)) for r in range(4)]
    assert [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)] == whole


def test_a_batch_holds_its_rows_pictures_texts_and_numbers(store, rows, tokenizer):
    samples = Samples(rows, Reading(size=40, views=2, text="whole"))
    batch = Collate(rows, tokenizer)([samples[0, place] for place in range(len(rows))])
    assert batch.images.shape == (len(rows), 2, 1, 40, 40)
    assert batch.images.dtype == torch.uint8
    table = store.select(split="train", columns=["id", "study_id", "patient_id", "text"]).to_pylist()
    for place, row in enumerate(table):
        assert int(batch.image[place]) == number_of(row["id"])
        assert int(batch.study[place]) == number_of(row["study_id"])
        assert int(batch.patient[place]) == number_of(row["patient_id"])
        assert (int(batch.text[place]) == -1) == (not row["text"])
        assert torch.equal(batch.tokens[place][batch.tokens[place] > 0], tokenizer([row["text"] or ""]).ids[0])
        whole = np.asarray(store.image(row["row"]))
        assert np.array_equal(batch.images[place, 0, 0, :, 2:38].numpy(), whole), "the whole image, centred on black"


def test_the_same_batches_come_with_any_number_of_workers(rows, tokenizer):
    reading = Reading(size=24, views=1, crop=0.7, text="sentences", sentences=2, seed=1)

    def take(workers):
        return list(
            itertools.islice(loader(rows, reading, Order(len(rows), 16, seed=1), tokenizer, workers=workers), 4)
        )

    for a, b in zip(take(0), take(2), strict=True):
        for x, y in zip(a[:-1], b[:-1], strict=True):
            assert torch.equal(x, y)


def test_a_row_is_cropped_and_read_anew_in_each_epoch(rows):
    samples = Samples(rows, Reading(size=24, crop=0.5, text="sentences", sentences=2))
    place = next(i for i, text in enumerate(rows.text) if text)
    seen = [samples[epoch, place] for epoch in range(12)]
    assert len({view.tobytes() for view, _, _ in seen}) == 12
    assert 3 <= len({text for _, text, _ in seen}) <= 5  # of three sentences: three alone, two pairs


def test_what_is_drawn_is_one_of_the_passages_and_each_of_them_is_drawn():
    sentences = ["A.", "B.", "C."]
    possible = passages("A. B. C.", sentences, mode="sentences", most=2)
    assert possible == ["A.", "B.", "C.", "A. B.", "B. C."]
    grid = np.linspace(0, 0.999, 40)
    drawn = {
        draw_passage("A. B. C.", sentences, pair, mode="sentences", most=2) for pair in itertools.product(grid, grid)
    }
    assert drawn == set(possible)
    assert draw_passage("A. B. C.", sentences, (0.2, 0.9), mode="whole", most=2) == "A. B. C."


def test_every_passage_has_a_place_in_the_table(rows):
    places = all_passages(rows, mode="sentences", most=2)
    lookup = Lookup({text: place for place, text in enumerate(places)})
    samples = Samples(rows, Reading(size=8, text="sentences", sentences=2))
    for epoch, place in itertools.product(range(3), range(len(rows))):
        text = samples[epoch, place][1]
        assert places[int(lookup([text]).ids)] == text


def test_a_filter_and_a_column_that_is_not_there(store):
    some = training_rows(store, where="side = 'left'")
    assert 0 < len(some) < len(training_rows(store))
    with pytest.raises(WrongUse, match="an objective asks for group; the store has"):
        training_rows(store, columns=["group"])
