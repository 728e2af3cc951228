"""Towers, joint space, freezing, and the cached text tower."""

import math

import pytest
import torch

from mmssl import plugins
from mmssl.errors import WrongUse
from mmssl.model import JointSpace, Model, Network, by_length, freeze, frozen_in_eval
from mmssl.step import step
from tests.batch import Image, Text, batch, model, objective


def test_the_scale_is_lent_at_most_100_and_starts_where_it_is_told():
    joint = JointSpace(image=4, text=4, dim=2, scale=1 / 0.07, bias=0.0)
    assert float(joint.log_scale.detach()) == pytest.approx(math.log(1 / 0.07))
    joint.log_scale.data.fill_(9.0)
    assert 99.9 < float(joint.lent().scale.detach()) <= 100
    joint.limit_scale()
    assert joint.log_scale.item() <= math.log(100)
    joint.lent().scale.backward()
    assert joint.log_scale.grad > 0, "a scale at its limit can come down again"


def test_embeddings_are_unit_vectors():
    m = model(["image_report"])
    images = m.network.embed_images(torch.randn(5, 3, 16, 16))
    texts = m.network.embed_texts(torch.randint(1, 32, (4, 6)))
    assert images.shape == (5, 8)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(4))


def test_images_alone_embed_as_what_the_tower_pools():
    network = Network(Image(), None, None)
    x = torch.randn(3, 3, 16, 16)
    pooled = network.towers["image"](x).pooled
    torch.testing.assert_close(network.embed_images(x), torch.nn.functional.normalize(pooled, dim=1))
    assert network.dim == 16


def test_a_table_of_what_a_frozen_tower_pools_gives_the_same_loss_and_gradients():
    whole, m = batch(), model(["image_report"])
    freeze(m.network, "text", "all")
    cached = Model(
        m.network,
        {"image_report": objective("image_report")},
        views=m.views,
        text_table=m.network.towers["text"](whole.tokens).pooled.detach(),
    )
    found = []
    for one, tokens in ((m, whole.tokens), (cached, torch.arange(8)[:, None])):
        m.network.zero_grad()
        losses = step(one, whole._replace(tokens=tokens), torch.Tensor.backward, number=0)
        grads = [p.grad.clone() for p in m.network.parameters() if p.grad is not None]
        found.append((float(losses["loss"]), grads))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("amount", "expected"), [("none", []), (1, ["cut"]), ("all", ["cut", "norm"])])
def test_freezing_counts_blocks_from_the_input(amount, expected):
    network = Network(Image(), Text(), JointSpace(image=16, text=16, dim=8, scale=7.0, bias=0.0))
    freeze(network, "image", amount)
    still = {name.split(".")[0] for name, p in network.towers["image"].named_parameters() if not p.requires_grad}
    assert sorted(still) == expected


def test_freezing_more_blocks_than_there_are_is_refused():
    network = Network(Image(), None, None)
    with pytest.raises(WrongUse, match=r"encoders\.image\.freeze: 3, but this tower has 2 blocks"):
        freeze(network, "image", 3)


def test_what_is_frozen_stays_in_evaluation_mode():
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)).train()
    module[0].requires_grad_(False)
    frozen_in_eval(module)
    assert [child.training for child in module] == [False, True, True]


def test_two_views_run_the_image_tower_twice_and_the_text_tower_never():
    m, calls = model(["image_image"]), []
    m.network.towers["image"].register_forward_hook(lambda *_: calls.append("image"))
    m.network.towers["text"].register_forward_hook(lambda *_: calls.append("text"))
    m(batch(), 0)
    assert calls == ["image", "image"]


@pytest.mark.parametrize("kind", ["tiny_text", "open_clip_text"])
def test_reading_texts_in_groups_of_like_length_changes_nothing(kind):
    """Values and gradients of 33 texts, the empty one and one at the limit included."""
    sizes = {"width": 32, "heads": 2, "layers": 2} if kind == "open_clip_text" else {"width": 32}
    torch.manual_seed(0)
    tower = plugins.find("encoders", kind)(**sizes, context_length=24)
    tower.double()  # in float32 sums in another order differ by rounding
    texts = ["", "effusion " * 60, *(" ".join(["no", "left", "effusion"] * (k % 7 + 1)) for k in range(31))]
    tokens = tower.tokenizer(texts).ids
    found = []
    for read in (tower, lambda x: by_length(tower, x, rows=4)):
        tower.zero_grad()
        encoded = read(tokens)
        (encoded.pooled * torch.linspace(-1, 1, encoded.pooled.numel()).view_as(encoded.pooled)).sum().backward()
        found.append((encoded.pooled.detach(), [p.grad.clone() for p in tower.parameters() if p.grad is not None]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-10, rtol=1e-10)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)
