"""One batch and one tiny model for the tests of the mathematics; the same on any number of processes."""

import importlib

import torch
from torch import nn

from mmssl.data.transforms import POLICIES
from mmssl.distributed import rank, world_size
from mmssl.model import JointSpace, Model, Network, Views
from mmssl.types import Batch, Encoded, Rows, tree_map

OBJECTIVES = ["image_report", "sigmoid", "image_image"]
TEXT = {"spread": [1, 1, 1, 0, 1, 1, 0, 0], "half": [1, 1, 1, 0, 0, 0, 0, 0], "none": [0] * 8}


class Image(nn.Module):
    tower, width, image_size, mean, std = "image", 16, 16, (0.5,) * 3, (0.5,) * 3

    def __init__(self):
        super().__init__()
        self.cut, self.norm = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16)

    def forward(self, x):
        tokens = self.norm(self.cut(x).flatten(2).transpose(1, 2))
        return Encoded(tokens.tanh().mean(1), tokens)

    def blocks(self):
        return [self.cut, self.norm]


class Text(nn.Module):
    tower, width, context_length, padding = "text", 16, 6, 0

    def __init__(self):
        super().__init__()
        self.embed, self.mix = nn.Embedding(32, 16), nn.Linear(16, 16)

    def forward(self, tokens):
        x = self.mix(self.embed(tokens)).tanh()
        return Encoded((x * (tokens > 0)[:, :, None]).sum(1), x)

    def blocks(self):
        return [self.embed, self.mix]


def objective(name, **options):
    part = importlib.import_module(f"mmssl.objectives.{name}").Objective
    return part(16, **options) if name == "image_image" else part(**options)


def model(names, *, policy="xray", seed=0):
    torch.manual_seed(seed)
    joint = JointSpace(image=16, text=16, dim=8, scale=7.0, bias=-3.0)
    network = Network(Image(), Text(), joint)
    return Model(network, {name: objective(name) for name in names}, views=Views(POLICIES[policy], 5))


def batch(text="spread", *, seed=1):
    """Eight rows: 0, 3 and 6 are one study, 2 and 4 one patient's two studies, 1 and 5 have the same text."""
    g = torch.Generator().manual_seed(seed)
    told = torch.tensor(TEXT[text])
    image = torch.arange(8) + 1
    study, patient, number = image + 100, image + 200, image + 300
    study[[3, 6]], patient[[3, 6]] = int(study[0]), int(patient[0])
    patient[4], number[5] = int(patient[2]), int(number[1])
    tokens = torch.randint(2, 32, (8, 6), generator=g)
    tokens[:, 4:] *= torch.rand(8, 1, generator=g) < 0.5
    tokens[5] = tokens[1]
    tokens = torch.where(told[:, None] > 0, tokens, torch.tensor([1, 0, 0, 0, 0, 0]))
    images = torch.randint(0, 256, (8, 2, 1, 16, 16), generator=g, dtype=torch.uint8)
    return Batch(images, tokens, torch.where(told > 0, number, -1), image, study, patient, {})


def mine(whole):
    """This process's share of a batch."""
    share = len(whole.image) // world_size()
    return tree_map(lambda x: x[rank() * share : (rank() + 1) * share], whole)


def rows(n, **made):
    """Rows that are all strangers to each other."""
    number = torch.arange(n)
    return Rows(number, number, number, number, number, {}, made)
