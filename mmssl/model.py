"""Towers, the joint space and the objectives: from a batch to losses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmssl import plugins
from mmssl.data.transforms import POLICIES, Policy, device_view, normalise
from mmssl.distributed import rank, total
from mmssl.errors import WrongUse
from mmssl.settings import Pretrain, Tower
from mmssl.types import Batch, Encoded, Encoder, Feature, Joint, Objective, Rows, Term, tree_map

MAX_LOG_SCALE = 4.605169773101807
"""The largest float32 whose exponential is not above 100."""


class JointSpace(nn.Module):
    """The space that images and reports share: what is kept, searched and exported."""

    def __init__(self, *, image: int, text: int, dim: int, scale: float, bias: float) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(image, dim, bias=False), nn.Linear(text, dim, bias=False)
        for layer, width in ((self.image, image), (self.text, text)):
            nn.init.normal_(layer.weight, std=width**-0.5)
        self.log_scale, self.bias = nn.Parameter(torch.tensor(math.log(scale))), nn.Parameter(torch.tensor(bias))

    def lent(self) -> Joint:
        over = (self.log_scale - MAX_LOG_SCALE).clamp(min=0).detach()  # taken off so that the gradient still passes
        return Joint((self.log_scale - over).exp(), self.bias)

    @torch.no_grad()
    def limit_scale(self) -> None:
        """Keeps the scale at or below 100; called after each step, so that it can always come down again."""
        self.log_scale.clamp_(max=MAX_LOG_SCALE)


class Network(nn.Module):
    """What a checkpoint holds: the towers and the joint space. Without a text tower there is no joint space."""

    def __init__(self, image: Encoder, text: Encoder | None, joint: JointSpace | None) -> None:
        super().__init__()
        assert (text is None) == (joint is None), "a joint space needs two towers"
        self.towers = nn.ModuleDict({"image": image} | ({"text": text} if text else {}))  # pyright: ignore
        self.joint = joint

    @property
    def dim(self) -> int:
        """Width of an embedding; for images alone that of the image tower."""
        return self.joint.image.out_features if self.joint else self.towers["image"].width  # pyright: ignore

    def embed_images(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] normalised -> [B, D] unit vectors."""
        pooled = self.towers["image"](x).pooled
        return self.embed("image", pooled)

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """[B, T] -> [B, D] unit vectors."""
        return self.embed("text", self.towers["text"](tokens).pooled)

    def embed(self, tower: str, pooled: Tensor) -> Tensor:
        """What a tower pooled, [B, C], as unit vectors [B, D] in float32."""
        x = self.joint.get_submodule(tower)(pooled) if self.joint else pooled
        return F.normalize(x.float(), dim=1)


@dataclass(frozen=True)
class Views:
    """How the model looks at a batch: the policy's share on the device, and the key of its randomness."""

    policy: Policy = POLICIES["none"]
    seed: int = 0


class Model(nn.Module):
    """A network in training: with its objectives, and what they need of each batch."""

    def __init__(
        self,
        network: Network,
        objectives: dict[str, Objective],
        *,
        weights: dict[str, float] | None = None,
        views: Views = Views(),
        bf16: bool = False,
        text_table: Tensor | None = None,
    ) -> None:
        """`text_table`: [U, C] what a frozen text tower pools of every text there is; tokens then are [B, 1] places."""
        super().__init__()
        self.network, self.objectives = network, nn.ModuleDict(objectives)  # pyright: ignore
        self.weights = weights or dict.fromkeys(objectives, 1.0)
        self.needs = sorted({need for o in objectives.values() for need in o.needs})
        self.views, self.bf16 = views, bf16
        self.register_buffer("text_table", text_table, persistent=False)

    def forward(self, batch: Batch, number: int) -> dict[str, dict[str, Tensor]]:
        """What each objective keeps of every row, in float32."""
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self.bf16):
            features = self.features(batch, number)
            each = {name: o.each(features) for name, o in self.objectives.items()}  # pyright: ignore
        return tree_map(lambda x: x.float() if x.is_floating_point() else x, each)

    def features(self, batch: Batch, number: int) -> dict[Feature, Tensor]:
        """Each tower runs once for every view asked for."""
        found: dict[Feature, Tensor] = {}
        for tower, view in sorted({(need.tower, need.view) for need in self.needs}):
            encoded = self.look(batch, view, number) if tower == "image" else self.read(batch)
            for need in (n for n in self.needs if (n.tower, n.view) == (tower, view)):
                if need.part == "joint":
                    found[need] = self.network.embed(tower, encoded.pooled)
                else:
                    found[need] = encoded.pooled if need.part == "pooled" else encoded.tokens
        return found

    def look(self, batch: Batch, view: int, number: int) -> Encoded:
        tower = self.network.towers["image"]
        with torch.no_grad(), torch.autocast(batch.images.device.type, enabled=False):
            x = device_view(batch.images[:, view], batch.image, self.views.policy, self.views.seed, number, view)
            x = normalise(x, tower.mean, tower.std)  # pyright: ignore
        return tower(x.contiguous(memory_format=torch.channels_last))

    def read(self, batch: Batch) -> Encoded:
        if self.text_table is None:
            tower = self.network.towers["text"]
            grouped = batch.tokens.device.type == "cpu" and tower.padding is not None
            return by_length(tower, batch.tokens) if grouped else tower(batch.tokens)
        pooled = self.text_table[batch.tokens[:, 0]]  # pyright: ignore
        return Encoded(pooled, pooled[:, None])

    def rows(self, each: dict[str, dict[str, Tensor]], batch: Batch) -> Rows:
        """All that is gathered: the numbers, and what every objective made."""
        made = {name: self.objectives[name].rows(x) for name, x in each.items()}  # pyright: ignore
        row = torch.arange(len(batch.image), device=batch.image.device) + rank() * len(batch.image)
        return Rows(row, batch.image, batch.study, batch.patient, batch.text, batch.columns, made)

    def losses(self, own: Rows, all: Rows) -> dict[str, Tensor]:
        """This process's share of each loss: {objective.term: scalar}; the loss is the sum over the processes.

        Divided by the *global* sum of weights: averages per process go wrong where text is spread unevenly.
        """
        joint = self.network.joint.lent() if self.network.joint else None
        terms: dict[str, Term] = {}
        for name, objective in self.objectives.items():
            one, every = (x._replace(made=x.made[name]) for x in (own, all))
            terms |= {f"{name}.{key}": term for key, term in objective.loss(one, every, joint).items()}  # pyright: ignore
        weights = total(torch.stack([term.weight.sum() for term in terms.values()]).detach())
        weights = torch.where(weights > 0, weights, 1.0)  # no row of the whole step has text
        return {
            name: (term.value * term.weight.detach()).sum() / weight
            for (name, term), weight in zip(terms.items(), weights, strict=True)
        }

    def weight_of(self, term: str) -> float:
        """The config's weight of the objective that a term `label.term` belongs to."""
        return self.weights[term.partition(".")[0]]

    def trainable(self) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]

    def views_needed(self) -> int:
        """How many views of an image the objectives ask for."""
        return 1 + max((need.view for need in self.needs if need.tower == "image"), default=0)


def by_length(tower: nn.Module, tokens: Tensor, *, rows: int = 8, groups: int = 8) -> Encoded:
    """What a text tower makes of a batch, run in groups of texts of like length, each cut to its longest.

    Every batch has a long text, and half of it is padding. Not for accelerators: looking at lengths stops them.

    Args:
        tower: whose `padding` token behind a text changes nothing.
        tokens: [B, T].
        rows: at least so many in a group.
        groups: at most so many.
    """
    last = torch.arange(1, tokens.shape[1] + 1, device=tokens.device) * (tokens != tower.padding)
    lengths = last.amax(dim=1).clamp(min=1)  # [B]
    order = lengths.argsort(stable=True)
    some = order.chunk(max(1, min(groups, len(tokens) // rows)))
    parts = [tower(tokens[group, : int(lengths[group[-1]])]) for group in some]
    back = order.argsort()
    longest = max(part.tokens.shape[1] for part in parts)
    padded = [F.pad(part.tokens, (0, 0, 0, longest - part.tokens.shape[1])) for part in parts]
    return Encoded(torch.cat([part.pooled for part in parts])[back], torch.cat(padded)[back])


def freeze(network: Network, tower: str, amount: str | int) -> None:
    """Stops training of a tower: `none`, `all`, or its first N blocks.

    A frozen normalisation keeps its running statistics too: see `frozen_in_eval`.
    """
    encoder = network.towers[tower]
    parts: Sequence[nn.Module] = [encoder] if amount == "all" else []
    if isinstance(amount, int):
        blocks = encoder.blocks()  # pyright: ignore
        if amount > len(blocks):
            raise WrongUse(f"encoders.{tower}.freeze: {amount}, but this tower has {len(blocks)} blocks")
        parts = blocks[:amount]
    for part in parts:
        part.requires_grad_(False)


def frozen_in_eval(module: nn.Module) -> None:
    """Puts modules all of whose parameters are frozen into evaluation mode (dropout off, statistics kept)."""
    for child in module.modules():
        parameters = list(child.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            child.eval()


def build_network(config: Pretrain, *, files: Path | None = None, trust: list[str] | None = None) -> Network:
    """The towers and the joint space that a config describes.

    Args:
        config: a run's settings.
        files: the folder that a text tower's `save_files` wrote; then nothing but that folder is read, and weights
            are left as they come.
        trust: modules outside mmssl that may be imported; None: those that the config names.
    """
    image = build_tower(config.encoders.image, trust=trust)
    if config.encoders.text is None:
        return Network(image, None, None)
    text = build_tower(config.encoders.text, files=files, trust=trust)
    alone = {part.kind for part in config.objectives.values()}
    only_sigmoid = "sigmoid" in alone and "image_report" not in alone
    scale = config.joint.scale or (10.0 if only_sigmoid else 1 / 0.07)
    bias = config.joint.bias if config.joint.bias is not None else -10.0
    joint = JointSpace(image=image.width, text=text.width, dim=config.joint.dim, scale=scale, bias=bias)
    return Network(image, text, joint)


def build_tower(part: Tower, *, files: Path | None = None, trust: list[str] | None = None) -> Encoder:
    encoder = plugins.find("encoders", part.kind, trust=trust)
    given = {"files": files} if plugins.takes(encoder, "files") else {}
    return encoder(**part.options, **given)


def build_objectives(config: Pretrain, network: Network, *, trust: list[str] | None = None) -> dict[str, Objective]:
    """The objectives of a config by label; those with a head are told the image tower's width."""
    found: dict[str, Objective] = {}
    for label, part in config.objectives.items():
        objective = plugins.find("objectives", part.kind, trust=trust)
        given = {"width": network.towers["image"].width} if plugins.takes(objective, "width") else {}
        found[label] = objective(**part.options, **given)
        asked = {need.tower for need in found[label].needs} | {
            "text" for need in found[label].needs if need.part == "joint"
        }
        if "text" in asked and network.joint is None:
            raise WrongUse(f"objectives.{label} needs reports, and encoders.text is null: name a text encoder")
    return found
