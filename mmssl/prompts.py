"""Prompt sets: the words in which a model is asked, read from YAML with every mistake named at once.

The shipped ones in `configs/prompts` show every key.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from mmssl import files
from mmssl.errors import WrongUse, many, meant

Task = Literal["multi_label", "multi_class"]
Uncertain = Literal["ignore", "positive", "negative"]
Scoring = Literal["learned", "chexzero"]

SHIPPED = files.CONFIGS / "prompts"
FOR_EVERY_TASK = ("task", "classes", "column", "scoring")
FOR_TASK = {"multi_label": ("columns", "uncertain", "positive", "negative", "overrides"), "multi_class": ("templates",)}
_NORMAL = re.compile(r"(no|not|normal|negative|healthy|unremarkable)\b", re.IGNORECASE)
_DOUBLE = re.compile(r"\b(no|not|without) (no|not|without|normal|clear|unremarkable|healthy)\b")
_UNSURE = re.compile(r"\b(possible|possibly|probable|probably|suspected|may be|might|questionable)\b")


@dataclass(frozen=True)
class Class:
    """One label or class and the texts that stand for it."""

    name: str
    phrases: tuple[str, ...]
    positive: tuple[str, ...]
    """Every phrase in every template, or the override's texts; for multi_class the only texts."""
    negative: tuple[str, ...] = ()
    column: str | None = None
    """The column with this label's own truth: 1, 0, -1 or null."""


@dataclass(frozen=True)
class PromptSet:
    """What to ask a model, and where the truth lies."""

    task: Task
    classes: tuple[Class, ...]
    column: str | None = None
    """The column with the truth of all labels: a list of names, or for multi_class one name."""
    uncertain: Uncertain = "ignore"
    """What a truth of -1 counts as."""
    scoring: Scoring = "learned"
    """The scale of similarities: the one the model learned, or 1 as in CheXzero's code."""
    overridden: tuple[str, ...] = ()
    without_place: tuple[str, ...] = field(default=(), compare=False)
    """Templates that have no {}, for `lint`."""
    path: Path | None = field(default=None, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.classes)

    @property
    def texts(self) -> list[str]:
        """Every distinct text, in order."""
        return list(dict.fromkeys(text for one in self.classes for text in (*one.positive, *one.negative)))

    @cached_property
    def hash(self) -> str:
        """SHA-256 over what is asked and how it is judged; the order of classes and texts does not matter."""
        classes = {
            one.name: {"positive": sorted(one.positive), "negative": sorted(one.negative), "column": one.column}
            for one in self.classes
        }
        return files.hash_json(
            {"task": self.task, "scoring": self.scoring, "uncertain": self.uncertain, "column": self.column}
            | {"classes": classes}
        )


def read(path: Path | str) -> PromptSet:
    """The prompt set in a YAML file, or the shipped one of a name, say chexpert5.

    Raises:
        WrongUse: with every unknown key, missing key and unusable value, each with its line.
    """
    path = files.or_shipped(Path(path), "prompts")
    if path.is_dir():
        raise WrongUse(f"{path} is a folder; give a YAML file")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise WrongUse(f"no such prompts: {path}{files.not_shipped(path, 'prompts')}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"{path}: cannot be read as text: {error}") from None
    try:
        raw, node = yaml.safe_load(text), yaml.compose(text)
    except yaml.YAMLError as error:
        raise WrongUse(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    places: dict[str, int] = {}
    problems = _doubles(node, "", places)
    return build(raw, path=path, places=places, problems=problems)


def build(
    raw: Any,
    *,
    path: Path | None = None,
    places: Mapping[str, int] | None = None,
    problems: list[tuple[str, str]] | None = None,
) -> PromptSet:
    """The prompt set of plain values as YAML gives them; `places` are the line numbers of dotted keys."""
    check = _Check(raw, list(problems or []))
    made = check.prompt_set(path)
    if check.problems or made is None:
        name = str(path) if path else "prompts"
        raise WrongUse(many(f"the prompts {name}" if path else "the prompts", [
            f"{_place(key, places or {}, name)}{key}: {said}" if key else said for key, said in check.problems
        ]))  # fmt: skip
    return made


def lint(prompts: PromptSet) -> list[str]:
    """Traps that a prompt set can hold and still be valid, each as one sentence with what to do."""
    found = [f"template {text!r} has no {{}}: it is the same text for every label" for text in prompts.without_place]
    owner: dict[str, str] = {}
    for one in prompts.classes:
        same = sorted(set(map(_bare, one.positive)) & set(map(_bare, one.negative)))
        if same:
            found.append(f"{one.name}: positive and negative have the same text {same[0]!r}, which can tell nothing")
        for text in one.negative:
            double = _DOUBLE.search(_bare(text))
            if double:
                found.append(
                    f"{one.name}: the negative text {text!r} says {double[0]!r}, which turns this label around; "
                    f"{advice(one.name)}"
                )
                break
        else:
            if prompts.task == "multi_label" and one.name not in prompts.overridden and _NORMAL.match(one.name):
                found.append(
                    f"{one.name}: looks like the absence of something, and is asked with the common templates; "
                    f"{advice(one.name)}"
                )
        unsure = next((_UNSURE.search(_bare(text)) for text in one.positive if _UNSURE.search(_bare(text))), None)
        if unsure:
            found.append(f"{one.name}: a positive text says {unsure[0]!r}, so it asks for doubt, not for the finding")
        doubled = [text for text, times in Counter(map(_bare, one.phrases)).items() if times > 1]
        if doubled:
            found.append(f"{one.name}: the phrase {doubled[0]!r} is given more than once")
        for text in dict.fromkeys(map(_bare, one.positive)):
            if text in owner and owner[text] != one.name:
                found.append(f"{one.name} and {owner[text]} are asked with the same text {text!r}")
            owner.setdefault(text, one.name)
    return found


def advice(*names: str) -> str:
    """What to write where the common templates turn labels around."""
    own = ", ".join(f"{name}: {{positive: [...], negative: [...]}}" for name in names)
    return f"give {'it' if len(names) == 1 else 'each'} its own texts: overrides: {{{own}}}"


def _bare(text: str) -> str:
    return " ".join(text.lower().rstrip(" .").split())


class _Check:
    """Reads plain values and gathers what is wrong with them."""

    def __init__(self, raw: Any, problems: list[tuple[str, str]]) -> None:
        self.raw: dict[Any, Any] = raw if isinstance(raw, dict) else {}
        self.problems = problems
        if not isinstance(raw, dict):
            given = "nothing" if raw is None else f"a {type(raw).__name__}"
            problems.append(("", f"a prompt set is a mapping with task, classes ..., this is {given}"))

    def prompt_set(self, path: Path | None) -> PromptSet | None:
        if self.problems and not self.raw:
            return None
        task = self.choice("task", get_args(Task), None)
        known = [*FOR_EVERY_TASK, *(FOR_TASK[task] if task else [key for keys in FOR_TASK.values() for key in keys])]
        for key in self.raw:
            if key not in known:
                self.problem(str(key), self._stranger(str(key), task, known))
        phrases = self.classes(task)
        positive = self.templates("positive", ("{}",))
        negative = self.templates("negative", ("no {}",))
        templates = self.templates("templates", ("{}",))
        overrides = self.overrides(list(phrases))
        column, columns = self.columns(list(phrases), task)
        scoring = self.choice("scoring", get_args(Scoring), "learned")
        uncertain = self.choice("uncertain", get_args(Uncertain), "ignore")
        if self.problems:
            return None
        constant = negative if not any("{}" in text for text in negative) else ()  # beside others one is no trap
        used = (positive + constant) if task == "multi_label" else templates
        made = []
        for name, words in phrases.items():
            own = overrides.get(name, {})
            if task == "multi_class":
                texts = {"positive": _filled(templates, words), "negative": ()}
            else:
                common = {"positive": positive, "negative": negative}
                texts = {side: _filled(own.get(side, common[side]), words) for side in common}
            made.append(Class(name, words, texts["positive"], texts["negative"], columns.get(name)))
        return PromptSet(
            task=cast(Task, task), classes=tuple(made), column=column, uncertain=cast(Uncertain, uncertain),
            scoring=cast(Scoring, scoring), overridden=tuple(overrides), path=path,
            without_place=tuple(dict.fromkeys(text for text in used if "{}" not in text)),
        )  # fmt: skip

    def problem(self, key: str, said: str) -> None:
        self.problems.append((key, said))

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None) -> str | None:
        value = self.raw.get(key, default)
        if value is None and key not in self.raw:
            self.problem(key, f"required; it is one of {', '.join(allowed)}")
        elif value not in allowed:
            self.problem(key, f"must be one of {', '.join(allowed)}{meant(str(value), list(allowed))}, got {value!r}")
        else:
            return value
        return None

    def classes(self, task: str | None) -> dict[str, tuple[str, ...]]:
        value = self.raw.get("classes")
        if not isinstance(value, dict) or not value:
            given = "required" if "classes" not in self.raw else f"got {value!r}"
            self.problem("classes", f"{given}; write name: [phrase, phrase] for each class")
            return {}
        if task == "multi_class" and len(value) < 2:
            self.problem("classes", f"multi_class decides between at least two classes, got {next(iter(value))}")
        found = {}
        for name, phrases in value.items():
            if not isinstance(name, str) or not name.strip():
                self.problem("classes", f"a name is text, got {name!r}; put it in quotes")
            else:
                found[name.strip()] = self.texts(f"classes.{name}", phrases)
        return found

    def templates(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        return self.texts(key, self.raw[key], template=True) if key in self.raw else default

    def texts(self, key: str, value: Any, *, template: bool = False) -> tuple[str, ...]:
        if not isinstance(value, list) or not value:
            example = f"[{value!r}]" if isinstance(value, str) else "[text, text]"
            self.problem(key, f"must be a list of at least one text, say {example}, got {value!r}")
            return ()
        for text in value:
            if not isinstance(text, str) or not text.strip():
                self.problem(key, f"must hold texts, got {text!r}{'; put it in quotes' if text is not None else ''}")
            elif template and re.search(r"\{[^{}]+\}", text):
                self.problem(key, f"the place of the phrase is written {{}}, got {text!r}")
        return tuple(text.strip() for text in value if isinstance(text, str))

    def overrides(self, names: list[str]) -> dict[str, dict[str, tuple[str, ...]]]:
        value = self.raw.get("overrides", {})
        if not isinstance(value, dict):
            self.problem("overrides", f"must be {{NAME: {{positive: [...], negative: [...]}}}}, got {value!r}")
            return {}
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for name, sides in value.items():
            key = f"overrides.{name}"
            self.known(key, name, names)
            if not isinstance(sides, dict) or not sides:
                self.problem(key, f"must be {{positive: [...], negative: [...]}}, or one of the two, got {sides!r}")
                continue
            for side in sides:
                if side not in ("positive", "negative"):
                    said = meant(str(side), ["positive", "negative"])
                    self.problem(f"{key}.{side}", f"unknown key{said}; known keys are positive, negative")
            found[str(name)] = {
                side: self.texts(f"{key}.{side}", sides[side], template=True)
                for side in ("positive", "negative")
                if side in sides
            }
        return found

    def columns(self, names: list[str], task: str | None) -> tuple[str | None, dict[str, str]]:
        column, columns = self.raw.get("column"), self.raw.get("columns", {})
        if column is not None and (not isinstance(column, str) or not column.strip()):
            self.problem("column", f"must be the name of a column, got {column!r}")
        if column is not None and columns and task != "multi_class":
            self.problem("columns", "give column (one for all labels) or columns (one for each), not both")
        if not isinstance(columns, dict):
            self.problem("columns", f"must be {{NAME: column}}, got {columns!r}")
            return None, {}
        for name, one in columns.items():
            self.known(f"columns.{name}", name, names)
            if not isinstance(one, str) or not one.strip():
                self.problem(f"columns.{name}", f"must be the name of a column, got {one!r}")
        if columns and names:
            missing = [name for name in names if name not in columns]
            if missing:
                self.problem("columns", f"none is given for {', '.join(missing)}")
        each = {str(name): str(one).strip() for name, one in columns.items()}
        return (column.strip() if isinstance(column, str) else None), each

    def known(self, key: str, name: object, names: list[str]) -> None:
        if names and name not in names:
            self.problem(key, f"no such class{meant(str(name), names)}; classes are {', '.join(names)}")

    def _stranger(self, key: str, task: str | None, known: list[str]) -> str:
        for other, keys in FOR_TASK.items():
            if task and other != task and key in keys:
                return f"belongs to task: {other}; {task} takes {', '.join(FOR_TASK[task])}"
        return f"unknown key{meant(key, known)}; known keys are {', '.join(known)}"


def _filled(templates: tuple[str, ...], phrases: tuple[str, ...]) -> tuple[str, ...]:
    """Every phrase in every template, each text once."""
    return tuple(dict.fromkeys(t.replace("{}", phrase) for phrase in phrases for t in templates))


def _doubles(node: yaml.Node | None, prefix: str, places: dict[str, int]) -> list[tuple[str, str]]:
    """Keys that stand twice in one mapping (YAML silently takes the last); fills in the line of every key."""
    found: list[tuple[str, str]] = []
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        dotted = f"{prefix}{key.value}"
        if dotted in places:
            found.append((dotted, f"stands twice, in line {places[dotted]} too"))
        places[dotted] = key.start_mark.line + 1
        found += _doubles(value, f"{dotted}.", places)
    return found


def _place(key: str, places: Mapping[str, int], name: str) -> str:
    """`file:line: `, the line of the key or of the nearest key above it."""
    while key:
        if key in places:
            return f"{Path(name).name}:{places[key]}: "
        key = key.rpartition(".")[0]
    return ""
