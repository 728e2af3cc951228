"""Read a YAML file and command-line overrides into a frozen dataclass, or say everything that is wrong with them.

A schema is a frozen dataclass. A dataclass with a class attribute `part_kind` stands for a part chosen by name:
its own fields are read as they are, every other key is an option of the part and is checked against the part's
constructor.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model

from mmssl import plugins
from mmssl.errors import WrongUse, many, meant
from mmssl.files import not_shipped, or_shipped

T = TypeVar("T")


class Problem(NamedTuple):
    """One mistake."""

    key: str
    """Dotted."""
    message: str
    place: str | None = None
    """Where it stands, unless the key says it."""


COMMAND_LINE = "command line"
NONE = ("", "~", "null")
"""What stands for nothing on the command line, where nothing is possible."""
STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class ConfigError(WrongUse):
    """A config that cannot be used; the message lists every problem with its place."""


def load(source: Path | Mapping[str, Any], overrides: list[str], schema: type[T]) -> T:
    """`load(Path("configs/pretrain/tiny.yaml"), ["optim.lr=1e-3"], Pretrain)`; later overrides win.

    Raises:
        ConfigError: with every unknown key, missing key and unusable value, each with file and line.
    """
    name, raw, where = _read(source)
    texts: dict[str, str] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{COMMAND_LINE}: {override!r} is no override; write key=value, say seed=1")
        _set(raw, key.split("."), _value(text, override), override)
        where[key], texts[key] = COMMAND_LINE, text
    return build(raw, schema, where=where, name=name, texts=texts)


def build(
    raw: dict[str, Any],
    schema: type[T],
    *,
    where: dict[str, str] | None = None,
    name: str = "config",
    trust: list[str] | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> T:
    """The schema filled from plain values; options of parts are filled with their defaults.

    Args:
        raw: keys and values.
        schema: a frozen dataclass.
        where: {dotted key: place}, for the message.
        name: of the source, where a key has no place of its own.
        trust: modules outside mmssl that may be imported; None: any that is named (the user wrote it).
        texts: {dotted key: the value as it was typed}, from which texts and paths are taken: 007 is a folder, not 7.
    """
    problems: list[Problem] = []
    places = where or {}
    filled = _Filler(problems, trust, places, texts).fill(raw, schema, "")
    if problems:
        lines = [
            f"{place or _place(key, places, name)}: {key + ': ' if key else ''}{message}"
            for key, message, place in problems
        ]
        raise ConfigError(many("the config", lines))
    return typing.cast(T, filled)


def plain(settings: Any) -> dict[str, Any]:
    """A filled schema as plain values that `build` reads again, options of parts beside their own fields."""
    if not dataclasses.is_dataclass(settings):
        return settings
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name == "options" and _part_kind(type(settings)):
            found |= {key: _plain_value(v) for key, v in value.items()}
        else:
            found[field.name] = _plain_value(value)
    return found


def _plain_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return plain(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: _plain_value(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_value(v) for v in value]
    return value


def _read(source: Path | Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, str]]:
    """The name of the source, its values, and {dotted key: file:line}."""
    if isinstance(source, Mapping):
        return "config", _copy(source), {}
    path = or_shipped(Path(source), "pretrain")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give a YAML file")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no such config: {path}{not_shipped(path, 'pretrain')}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text: {error}") from None
    try:
        raw, node = yaml.safe_load(text), yaml.compose(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if twice := _twice(node):
        lines = [f"{path}:{line}: {key}: given already in line {first}" for key, first, line in twice]
        raise ConfigError(many("the config", lines))
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a config is a mapping of keys to values, this is a {type(raw).__name__}")
    return str(path), raw, {key: f"{path}:{line}" for key, line in _lines(node).items()}


@dataclasses.dataclass(frozen=True)
class _Filler:
    """Fills schemas, and collects what is wrong on the way."""

    problems: list[Problem]
    trust: list[str] | None
    where: Mapping[str, str]
    texts: Mapping[str, str]

    def problem(self, key: str, message: str, place: str | None = None) -> None:
        self.problems.append(Problem(key, message, place))

    def fill(self, raw: Any, schema: Any, prefix: str) -> Any:
        """An instance of `schema` from plain values; where some are of no use, with their defaults, or None."""
        before = len(self.problems)
        if not isinstance(raw, Mapping):
            self.problem(prefix.rstrip("."), f"must be a mapping of keys to values, got {raw!r}")
            return None
        hints = typing.get_type_hints(schema, include_extras=True)
        kind = _part_kind(schema)
        fields = [f for f in dataclasses.fields(schema) if not (kind and f.name == "options")]
        own = [f.name for f in fields]
        values: dict[str, Any] = {}
        for key, value in raw.items():
            if key in own:
                values[key] = self.field(value, hints[key], f"{prefix}{key}")
            elif not kind:
                self.problem(f"{prefix}{key}", _unknown(str(key), own))
        for f in fields:
            needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
            if needed and f.name not in raw:
                self.problem(f"{prefix}{f.name}", "required")
        if kind:
            extra = {key: value for key, value in raw.items() if key not in own}
            values["options"] = self.options(kind, raw.get("kind"), extra, own, prefix)
        wrong = [problem.key.removeprefix(prefix) for problem in self.problems[before:]]
        whole = {key: value for key, value in values.items() if value is not None or raw.get(key) is None}
        try:
            return schema(**whole)
        except ValueError as error:  # a rule between several keys, held by the schema's __post_init__
            if not any(_names(str(error), key) for key in wrong):  # else that mistake may be its cause
                self.problem(prefix.rstrip("."), str(error), self.typed(prefix, str(error)))
            return None
        except TypeError:  # a key that is needed is not there, or of no use
            assert wrong, "a schema can be made of values without mistakes"
            return None

    def typed(self, prefix: str, message: str) -> str | None:
        """The command line, where what a message names was typed there."""
        keys = [key.removeprefix(prefix) for key, place in self.where.items()
                if place == COMMAND_LINE and key.startswith(prefix)]  # fmt: skip
        return COMMAND_LINE if any(_names(message, key) for key in keys) else None

    def field(self, value: Any, hint: Any, key: str) -> Any:
        """One value of a schema: another schema, a mapping of labels to parts, or something pydantic checks."""
        inner = _schema_in(hint)
        if inner is not None and not (value is None and _optional(hint)):
            return self.fill(value, inner, f"{key}.")
        parts = _parts_in(hint)
        if parts is not None:
            if not isinstance(value, Mapping):
                self.problem(key, f"must be a mapping of names to options, got {value!r}")
                return None
            found = {}
            for label, options in value.items():
                given = {} if options is None else options
                named = {"kind": label, **given} if isinstance(given, Mapping) else given
                found[label] = self.fill(named, parts, f"{key}.{label}.")
            return found
        value = self.as_typed(value, hint, key)
        if typing.get_origin(hint) is tuple and isinstance(value, str):  # one name stands for a list of it
            value = [value]
        try:
            return TypeAdapter(hint, config=None if inner else STRICT).validate_python(value)
        except ValidationError as error:
            self.problem(key, _messages(error.errors(), value))
            return None

    def as_typed(self, value: Any, hint: Any, key: str) -> Any:
        """Texts and paths as they stand on the command line, where YAML would read something else: 007, |, cap #1."""
        if typing.get_origin(hint) is dict and isinstance(value, Mapping):
            return {name: self.as_typed(one, typing.get_args(hint)[1], f"{key}.{name}") for name, one in value.items()}
        kinds = set(_members(hint)) - {type(None)}
        text = self.texts.get(key)
        if text is not None and kinds and kinds <= {str, Path}:
            is_none = text in NONE and _optional(hint)
            is_quoted = text[:1] in ("'", '"') and isinstance(value, str)
            value = None if is_none else value if is_quoted else text
        elif kinds == {Path} and isinstance(value, bool | int | float | date):
            value = str(value)
        return Path(value).expanduser() if Path in kinds and isinstance(value, str) else value

    def options(self, kind: str, name: Any, given: dict[str, Any], own: list[str], prefix: str) -> dict[str, Any]:
        """The options of a part, checked and completed against its constructor."""
        if not isinstance(name, str):
            return {}
        try:
            schema = plugins.options(plugins.find(kind, name, trust=self.trust))
        except (WrongUse, ImportError, AttributeError) as error:
            own_key = f"{prefix}kind"
            self.problem(own_key if own_key in self.where else prefix.rstrip("."), str(error))
            return {}
        model = create_model("options", __config__=STRICT, **typing.cast(Any, schema))
        try:
            return dict(model(**given))
        except ValidationError as error:
            by_key: dict[str, list[Any]] = {}
            for one in error.errors():
                by_key.setdefault(str(one["loc"][0]), []).append(one)
            for key, some in by_key.items():
                unknown = some[0]["type"] == "extra_forbidden"
                said = _unknown(key, [*schema, *own]) if unknown else _messages(some, given.get(key))
                self.problem(f"{prefix}{key}", said)
            return {}


def _names(message: str, key: str) -> bool:
    """Whether a message speaks of a key."""
    return re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", message) is not None


def _unknown(key: str, known: list[str]) -> str:
    return f"unknown key{meant(key, known)}; known keys are {', '.join(known)}"


def _messages(errors: list[Any], value: Any) -> str:
    if errors[0]["type"] in ("missing", "missing_argument"):
        return "required"
    told = [e["msg"].removeprefix("Value error, ") for e in errors]
    said = list(dict.fromkeys(f"{one[0].lower()}{one[1:]}" for one in told))
    return f"{', or '.join(said)}, got {value!r}"


def _schema_in(hint: Any) -> Any:
    """The dataclass that a type hint names, alone or beside None."""
    for one in _members(hint):
        if isinstance(one, type) and dataclasses.is_dataclass(one):
            return one
    return None


def _parts_in(hint: Any) -> Any:
    """The part schema of a `dict[str, Part]`."""
    for one in _members(hint):
        if typing.get_origin(one) is dict:
            inner = typing.get_args(one)[1]
            if isinstance(inner, type) and dataclasses.is_dataclass(inner) and _part_kind(inner):
                return inner
    return None


def _members(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _optional(hint: Any) -> bool:
    return type(None) in _members(hint)


def _part_kind(schema: Any) -> str | None:
    return vars(schema).get("part_kind")


def _place(key: str, where: dict[str, str], name: str) -> str:
    """Where a key stands: its own line, else that of a key in it, else that of the nearest key above it."""
    inside = next((where[one] for one in where if one.startswith(f"{key}.")), None)
    if key and key not in where and inside:
        return inside
    while key:
        if key in where:
            return where[key]
        key = key.rpartition(".")[0]
    return name


def _value(text: str, override: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _set(tree: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        if tree.get(key) is None:
            tree[key] = {}
        tree = tree[key]
        if not isinstance(tree, dict):
            raise ConfigError(f"{COMMAND_LINE}: {override!r}: {key} is a value, not a group of keys")
    tree[keys[-1]] = value


def _copy(tree: Any) -> Any:
    return {key: _copy(value) for key, value in tree.items()} if isinstance(tree, Mapping) else tree


def _lines(node: yaml.Node | None, prefix: str = "") -> dict[str, int]:
    """{dotted key: line number} of a YAML document."""
    found: dict[str, int] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        found[f"{prefix}{key.value}"] = key.start_mark.line + 1
        found |= _lines(value, f"{prefix}{key.value}.")
    return found


def _twice(node: yaml.Node | None, prefix: str = "") -> list[tuple[str, int, int]]:
    """Keys that stand twice in a mapping, where YAML silently takes the last: (dotted key, first line, line)."""
    found: list[tuple[str, int, int]] = []
    first: dict[str, int] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        line = key.start_mark.line + 1
        if key.value in first:
            found.append((f"{prefix}{key.value}", first[key.value], line))
        first.setdefault(key.value, line)
        found += _twice(value, f"{prefix}{key.value}.")
    return found
