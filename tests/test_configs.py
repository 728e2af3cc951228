"""Every shipped configuration is read, and begins with a command that can be typed."""

import shlex
from pathlib import Path

import pytest
import yaml

from mmssl import prompts, settings

CONFIGS = Path(__file__).parent.parent / "configs"
PRETRAIN = sorted((CONFIGS / "pretrain").glob("*.yaml"))
PROMPTS = sorted((CONFIGS / "prompts").glob("*.yaml"))

KEYS = [
    "data.path", "data.batch_size", "optim.lr", "optim.steps", "checkpoint.every", "seed", "run", "minutes"
]  # fmt: skip
"""What scripts may rely on finding in every pre-training config."""


def commands(path):
    """The commands in the comments that a file begins with."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return
        if line.lstrip("# ").startswith("mmssl "):
            yield shlex.split(line.lstrip("# "))


def test_the_five_are_shipped():
    assert {path.stem for path in PRETRAIN} >= {"tiny", "demo", "medpix", "cxr", "images"}


@pytest.mark.parametrize("path", PRETRAIN, ids=lambda path: path.stem)
def test_a_config_begins_with_the_command_that_runs_it(path):
    runs = [words for words in commands(path) if words[:2] == ["mmssl", "pretrain"]]
    assert runs
    for _, _, config, *overrides in runs:
        assert config == f"configs/pretrain/{path.name}"
        assert settings.read(path, [word for word in overrides if not word.startswith("--")])


@pytest.mark.parametrize("path", PRETRAIN, ids=lambda path: path.stem)
def test_a_config_names_the_keys_that_scripts_set(path):
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in KEYS:
        place = raw
        for name in key.split("."):
            assert name in place, f"{path.name} has no {key}"
            place = place[name]


@pytest.mark.parametrize("path", PRETRAIN, ids=lambda path: path.stem)
def test_a_config_gives_a_length_that_can_be_replaced(path):
    assert settings.read(path, ["minutes=1"]).optim.steps is None
    assert settings.read(path, ["optim.steps=3"]).minutes is None


@pytest.mark.parametrize("name", ["tiny", "demo", "medpix"])
def test_these_log_every_step(name):
    assert settings.read(CONFIGS / "pretrain" / f"{name}.yaml", []).log.every == 1


def test_the_demo_counts_steps():
    assert settings.read(CONFIGS / "pretrain" / "demo.yaml", []).optim.steps


def test_images_alone_have_no_text_tower():
    made = settings.read(CONFIGS / "pretrain" / "images.yaml", [])
    assert made.encoders.text is None
    assert {part.kind for part in made.objectives.values()} == {"image_image"}


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.stem)
def test_a_prompt_set_is_read_and_has_no_trap(path):
    assert prompts.lint(prompts.read(path)) == []


@pytest.mark.parametrize("path", PRETRAIN + PROMPTS, ids=lambda path: path.stem)
def test_a_config_says_what_it_is_for(path):
    assert path.read_text(encoding="utf-8").startswith("# ")
