"""What is known of the training texts before a run: how many are cut, and what a frozen tower makes of each."""

from typing import Any

import torch
from torch import Tensor

from mmssl import console
from mmssl.data import batches
from mmssl.distributed import rank
from mmssl.model import Network
from mmssl.settings import Pretrain

LOOKED_AT = 4000
"""Training texts whose length is looked at before a run."""


def truncated_share(settings: Pretrain, rows: batches.TrainingRows, network: Network) -> float | None:
    """Share of the passages that are longer than the text tower reads, of a few thousand looked at; says so."""
    if network.joint is None:
        return None
    passages = batches.all_passages(rows, mode=settings.data.text, most=settings.data.sentences)[1:]
    some = passages[:: max(1, len(passages) // LOOKED_AT)]
    tower: Any = network.towers["text"]
    cut = tower.tokenizer(some).truncated if some else 0
    if cut and rank() == 0:
        ways = ["data.text=sentences"] if settings.data.text == "whole" else []
        ways += [f"data.sentences={settings.data.sentences - 1}"] if not ways and settings.data.sentences > 1 else []
        remedy = f"; {ways[0]} makes them shorter" if ways else ""
        console.say(
            f"{cut} of {len(some)} training texts looked at are longer than the {tower.context_length} tokens that the "
            f"text tower reads, and are cut{remedy}"
        )
    return cut / len(some) if some else None


def tabulate(
    settings: Pretrain, rows: batches.TrainingRows, network: Network, *, bf16: bool
) -> tuple[Tensor | None, batches.Lookup | None]:
    """What a frozen text tower pools of every passage there is, and the look-up that takes its tokenizer's place."""
    text = settings.encoders.text
    if text is None or text.freeze != "all" or not settings.data.cache_text:
        return None, None
    passages = batches.all_passages(rows, mode=settings.data.text, most=settings.data.sentences)
    tower: Any = network.towers["text"]
    device = next(tower.parameters()).device
    order = sorted(range(len(passages)), key=lambda i: len(passages[i]))  # alike lengths pad little
    table = torch.empty(len(passages), tower.width)
    tower.eval()
    with torch.inference_mode(), console.progress("texts", len(passages), "texts") as advance:
        for start in range(0, len(order), 128):
            some = order[start : start + 128]
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                pooled = tower(tower.tokenizer([passages[i] for i in some]).ids.to(device)).pooled
            table[some] = pooled.float().cpu()
            advance(len(some))
    return table.clone().to(device), batches.Lookup({text: place for place, text in enumerate(passages)})
