"""Our training step as shipped against open_clip's own model and loss: same towers, same batch, same captions.

    MMSSL_DATA=DATA python -m benchmarks.train_step

Alternating in one process, two tower pairs: ResNet-18 at 128 px with open_clip's text tower 6 x 256, batch 64, and
open_clip's own ViT-S-16 at 224 px, batch 32. Values and gradients in float32 are compared first.

What "as shipped" holds on our side: bf16, channels-last, a fused optimizer, texts padded to the longest of the batch,
the xray policy's views on the batch, and freed memory kept by the C library (`hardware.keep_memory`). "Same padding"
gives up the precision of its own choice, the shorter texts and the views. Nothing is compiled on either side. open_clip
runs with the C library's defaults, as its own training does. fp16 (`amp`) has no fast kernels on a CPU and would take
minutes a step, so it is timed on AMP_IMAGES of the batch, once, and only its rate is used.
"""

import copy
import json
import statistics
import time

import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss
from PIL import Image

from benchmarks import common
from mmssl import plugins
from mmssl.data.transforms import POLICIES, normalise
from mmssl.distributed import sum_gradients
from mmssl.hardware import has_bf16, keep_memory
from mmssl.model import JointSpace, Model, Network, Views
from mmssl.objectives.image_report import Objective
from mmssl.optim import parameter_groups_of
from mmssl.step import step
from mmssl.types import Batch

AMP_IMAGES = 4
PAIRS = {
    "rn18": {"batch": 64, "size": 128, "model": "resnet18", "rounds": 5},
    "vits": {"batch": 32, "size": 224, "model": "ViT-S-16", "rounds": 3},
}
RN18 = {
    "embed_dim": 512,
    "vision_cfg": {
        "timm_model_name": "resnet18", "timm_pool": "avg", "timm_proj": "linear", "image_size": 128,
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 6},
}  # fmt: skip


def peer_model(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "rn18":
        from open_clip.model import CustomTextCLIP

        return CustomTextCLIP(**copy.deepcopy(RN18))
    return open_clip.create_model("ViT-S-16")


def our_network(name: str, peer: torch.nn.Module) -> Network:
    """The same towers with the same weights."""
    if name == "rn18":
        image = plugins.find("encoders", "timm_image")(name="resnet18", image_size=128)
        text = plugins.find("encoders", "open_clip_text")(width=256, heads=4, layers=6)
        image.trunk.load_state_dict(peer.visual.trunk.state_dict())
        theirs = peer.text
        projection = peer.visual.head.proj.weight
    else:
        image = plugins.find("encoders", "open_clip_image")(name="ViT-S-16")
        text = plugins.find("encoders", "open_clip_text")(name="ViT-S-16")
        state = {k: v for k, v in peer.visual.state_dict().items() if k != "proj"}
        image.trunk.load_state_dict(state, strict=False)
        theirs = peer
        projection = peer.visual.proj.T
    own = dict(text.trunk.named_parameters())
    for key, value in theirs.named_parameters():
        if key in own:
            own[key].data.copy_(value.data)
    joint = JointSpace(image=image.width, text=text.width, dim=projection.shape[0], scale=1 / 0.07, bias=0.0)
    joint.image.weight.data.copy_(projection.data)
    joint.text.weight.data.copy_(theirs.text_projection.data.T)
    joint.bias.requires_grad_(False)
    return Network(image, text, joint)


def captions(count: int) -> tuple[list[str], list[str]]:
    """So many captions, spread over the table, and the names of their images."""
    lines = common.data("medpix", "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    step_size = len(rows) // count
    return [row["caption"] for row in rows[::step_size][:count]], [row["image"] for row in rows[::step_size][:count]]


def pictures(names: list[str], size: int) -> torch.Tensor:
    folder = common.data("medpix")
    views = [np.asarray(Image.open(folder / name).convert("L").resize((size, size))) for name in names]
    return torch.from_numpy(np.stack(views))[:, None, None]  # [B, 1, 1, H, W]


def peer_step(model, optimizer, images, tokens, precision):
    dtype = {"amp": torch.float16, "amp_bf16": torch.bfloat16}.get(precision)
    loss_of = ClipLoss()

    def work() -> float:
        keep_memory(False)  # the C library's defaults
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            image, text, scale = model(images, tokens)[:3]
            loss = loss_of(image, text, scale)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return len(images)

    return work


def our_step(model, optimizer, batch):
    number = 0

    def work() -> float:
        nonlocal number
        keep_memory()  # as `mmssl pretrain` does
        losses = step(model, batch, torch.Tensor.backward, number=number)
        parameters = [p for p in model.trainable() if p.grad is not None]
        sum_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        assert torch.isfinite(losses["loss"])
        optimizer.step()
        optimizer.zero_grad()
        number += 1
        return len(batch.image)

    return work


def agreement(peer, model, images, batch, tokens) -> float:
    """Largest difference of loss and gradients in float32, with the batch norms in evaluation mode on both sides."""
    peer.eval(), model.eval()
    image, text, scale = peer(images, tokens)[:3]
    theirs = ClipLoss()(image, text, scale)
    theirs.backward()
    ours = step(model, batch, torch.Tensor.backward, number=0)["loss"]
    net, visual = model.network, peer.visual
    gradients = [
        (net.joint.log_scale.grad, peer.logit_scale.grad),
        *((own.grad, other.grad) for own, other in paired(net, visual, peer)),
    ]
    worst = max([abs(float(ours) - float(theirs.detach())), *(float((a - b).abs().max()) for a, b in gradients)])
    peer.zero_grad(), model.zero_grad()
    peer.train(), model.train()
    return worst


def paired(net, visual, peer):
    """Parameters of both sides that are the same."""
    text = peer.text if "text" in dict(peer.named_children()) else peer
    theirs = dict(visual.trunk.named_parameters() if "trunk" in dict(visual.named_children()) else
                  visual.named_parameters())  # fmt: skip
    own = dict(net.towers["image"].trunk.named_parameters())
    yield from ((own[k], theirs[k]) for k in own if k in theirs)
    theirs, own = dict(text.named_parameters()), dict(net.towers["text"].trunk.named_parameters())
    yield from ((own[k], theirs[k]) for k in own if k in theirs)


def measure(name: str, bf16: bool) -> dict[str, float]:
    pair = PAIRS[name]
    texts, names = captions(pair["batch"])
    grey = pictures(names, pair["size"])
    peer = peer_model(name)
    full = open_clip.get_tokenizer("ViT-B-32")(texts)  # [B, 77]
    network = our_network(name, peer)
    tower = network.towers["image"]
    images = normalise(grey[:, 0].float() / 255, tower.mean, tower.std)
    ids = torch.arange(len(texts))
    batch = Batch(grey, network.towers["text"].tokenizer(texts).ids, ids, ids, ids, ids, {})

    def our_model(*, low: bool, policy: str) -> Model:
        own = {"image_report": Objective(same_text=False)}
        return Model(copy.deepcopy(network), own, views=Views(POLICIES[policy]), bf16=low)

    plain = our_model(low=False, policy="none")
    difference = agreement(peer, plain, images, batch, full)
    print(f"{name}: largest difference of loss and gradients in float32: {difference:.1e}")
    assert difference < 1e-5, "ours and open_clip's are not the same model"

    def contestant(*, low: bool, policy: str, tokens: torch.Tensor | None = None, groups: bool = True):
        model = our_model(low=low, policy=policy).to(memory_format=torch.channels_last)
        if not groups:
            model.network.towers["text"].padding = None
        model.train()
        optimizer = torch.optim.AdamW(
            parameter_groups_of(model, weight_decay=0.1), lr=5e-4, betas=(0.9, 0.98), fused=True
        )
        given = batch if tokens is None else batch._replace(tokens=tokens)
        return our_step(model, optimizer, given)

    def theirs(precision: str, *, most: int | None = None):
        model = copy.deepcopy(peer)
        if precision == "pure_bf16":
            model = model.to(torch.bfloat16)
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.98), weight_decay=0.1)
        given = images.to(torch.bfloat16) if precision == "pure_bf16" else images
        return peer_step(model, optimizer, given[:most], full[:most], precision)

    contestants = {"open_clip fp32": theirs("fp32"), "ours fp32, same padding": contestant(
        low=False, policy="none", tokens=full, groups=False)}  # fmt: skip
    if bf16:
        contestants |= {
            "open_clip amp_bf16": theirs("amp_bf16"),
            "ours bf16, same padding": contestant(low=True, policy="none", tokens=full, groups=False),
            "open_clip pure_bf16": theirs("pure_bf16"),
            "ours as shipped": contestant(low=True, policy="xray"),
        }
    rates = common.alternate(contestants, rounds=pair["rounds"])
    common.show(rates, "images/s")
    amp = once(theirs("amp", most=AMP_IMAGES))
    print(f"  {'open_clip amp, once, ' + str(AMP_IMAGES) + ' images':32s} {amp:8.2f} images/s")
    if not bf16:
        return {"equal": common.ratio(rates, "ours fp32, same padding", "open_clip fp32"),
                "peer": statistics.median(rates["open_clip fp32"])}  # fmt: skip
    best = max(("open_clip fp32", "open_clip amp_bf16"), key=lambda name: statistics.median(rates[name]))
    return {
        "best": common.ratio(rates, "ours as shipped", best) if amp < statistics.median(rates[best]) else
        statistics.median(rates["ours as shipped"]) / amp,
        "fp32": common.ratio(rates, "ours as shipped", "open_clip fp32"),
        "equal": min(common.ratio(rates, "ours bf16, same padding", "open_clip amp_bf16"),
                     common.ratio(rates, "ours fp32, same padding", "open_clip fp32")),
        "peer": max(amp, statistics.median(rates[best])),
    }  # fmt: skip


def once(work) -> float:
    start = time.perf_counter()
    return work() / (time.perf_counter() - start)


def main() -> None:
    bf16 = has_bf16(torch.device("cpu"))
    common.settings(bf16_instructions=bf16, pairs=", ".join(f"{k} {v}" for k, v in PAIRS.items()))
    if not bf16:
        print("this processor has no bf16 instructions: only ratio_equal says something here")
    found = {name: measure(name, bf16) for name in PAIRS}
    for name, values in found.items():
        print(f"peer_{name}: {values['peer']:.2f}")
    if bf16:
        print(f"ratio_fp32: {min(values['fp32'] for values in found.values()):.3f}")
    print(f"ratio_equal: {min(values['equal'] for values in found.values()):.3f}")
    if bf16:
        print(f"ratio: {min(values['best'] for values in found.values()):.3f}")


if __name__ == "__main__":
    main()
