"""The table of all reason codes and flags, made from the tables that the code itself uses: docs/reason-codes.md.

    python -m mmssl.prepare.reason_codes docs/reason-codes.md

A table is a module's own `REASONS` or `FLAGS`: {code: meaning}. A new one is found by its name, nothing is registered.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmssl import files

HEAD = """# Reason codes and flags

Every input of a source is kept, or has one reason why it is not: `sources.parquet` has a line for each, and
`rejected.parquet` what was set aside, frame by frame. Of a row that is kept, `flags` says what one should know of it.
`audit.html` in the store shows pictures of each.

This page is written by `python -m mmssl.prepare.reason_codes docs/reason-codes.md`, from the code itself.
"""

SECTIONS = {
    "REASONS": "## Reasons\n\nWhy an input, or a frame of it, is no row.",
    "FLAGS": "## Flags\n\nWhat is said of a row that stays.",
}


class Code(NamedTuple):
    """A code, what it means, and the modules that say so."""

    name: str
    meaning: str
    modules: tuple[str, ...]


def codes(table: str) -> list[Code]:
    """All codes of the tables of one name (`REASONS` or `FLAGS`), by name.

    Where several modules use one code with different words, it means either.
    """
    meanings: dict[str, dict[str, list[str]]] = {}
    for module, name, meaning in _entries(table):
        meanings.setdefault(name, {}).setdefault(meaning, []).append(module)
    return [
        Code(name, "; or ".join(told), tuple(dict.fromkeys(module for found in told.values() for module in found)))
        for name, told in sorted(meanings.items())
    ]


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for table, head in SECTIONS.items():
        lines = ["| code | what it means | from |", "| --- | --- | --- |"]
        for code in codes(table):
            modules = ", ".join(f"`{module}`" for module in code.modules)
            lines.append(f"| `{code.name}` | {code.meaning} | {modules} |")
        parts.append(head + "\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _entries(table: str) -> Iterator[tuple[str, str, str]]:
    """(module, code, meaning), read from the source: importing all of mmssl would load every heavy library."""
    root = Path(__file__).parent.parent
    for path in sorted(root.rglob("*.py")):
        if "configs" in path.relative_to(root).parts:
            continue
        module = path.relative_to(root).with_suffix("").as_posix()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            value = _assigned(node, table)
            if isinstance(value, ast.Dict):
                for key, said in zip(value.keys, value.values, strict=True):
                    if key is not None:  # `**images.REASONS` stands for codes that are listed where they come from
                        yield module, ast.literal_eval(key), ast.literal_eval(said)


def _assigned(node: ast.stmt, name: str) -> ast.expr | None:
    """What is assigned to a name at the top of a module."""
    if isinstance(node, ast.AnnAssign):
        targets: list[ast.expr] = [node.target]
    elif isinstance(node, ast.Assign):
        targets = node.targets
    else:
        return None
    return node.value if any(isinstance(one, ast.Name) and one.id == name for one in targets) else None


def main(path: str) -> None:
    with files.whole_file(Path(path)) as part:
        part.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
