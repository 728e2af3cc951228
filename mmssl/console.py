"""What a user sees in the terminal: tables, progress, remarks. rich is imported when something is shown."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

quiet = False
"""Set by `-q`: nothing but errors, warnings and results that were asked for."""


def say(text: str) -> None:
    """A remark; to stderr, so that results alone go to stdout."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """What a user must know to trust a result, so it is said under `-q` too; to stderr."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, is_result: bool = False) -> None:
    """A table to stdout; columns of numbers to the right, all others to the left.

    `is_result`: it is what was asked for, and is printed under `-q` too.
    """
    if quiet and not is_result:
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        numbers = all(isinstance(row[i], int | float | None) for row in rows)
        shown.add_column(column, justify="right" if numbers and i else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(cell(value) for value in row))
    Console(width=None if sys.stdout.isatty() else 120, soft_wrap=False).print(shown)


def cell(value: object) -> str:
    """A value as a table shows it: three decimals, a dash for nothing, markup left alone."""
    from rich.markup import escape

    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))


@contextlib.contextmanager
def progress(title: str, total: int | None, unit: str = "items", *, rate: bool = True) -> Iterator[Callable[..., None]]:
    """A bar with rate and time left; what it yields is called as `advance(n, note="loss 1.2")`.

    `rate=False`: the note has a rate of its own, say without the time that something else took in between.
    Where stderr is no terminal, a line is written every ten seconds and one at the end.
    """
    if quiet:
        yield lambda n=1, note="": None
    elif sys.stderr.isatty():
        yield from _bar(title, total, unit if rate else None)
    else:
        yield from _lines(title, total, unit if rate else None)


def _bar(title: str, total: int | None, unit: str | None) -> Iterator[Callable[..., None]]:
    from rich import progress as shown
    from rich.console import Console

    columns = (
        shown.TextColumn("{task.description}"),
        shown.BarColumn(bar_width=None),
        shown.MofNCompleteColumn(),
        shown.TextColumn("{task.fields[rate]}"),
        shown.TimeElapsedColumn(),
        shown.TimeRemainingColumn(),
        shown.TextColumn("{task.fields[note]}"),
    )
    start = time.monotonic()
    with shown.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, rate="", note="")

        def advance(n: int = 1, note: str = "") -> None:
            bar.update(task, advance=n)
            rate = bar.tasks[task].completed / max(time.monotonic() - start, 1e-9)
            bar.update(task, rate=f"{rate:.0f} {unit}/s" if unit else "", note=note)

        yield advance


def _lines(title: str, total: int | None, unit: str | None) -> Iterator[Callable[..., None]]:
    start = said = time.monotonic()
    done = 0

    def line(note: str) -> str:
        seconds = max(time.monotonic() - start, 1e-9)
        of = f"/{total}" if total is not None else ""
        rate = f" {done / seconds:.1f} {unit}/s," if unit else ""
        return f"{title}: {done}{of},{rate} {seconds:.0f} s{', ' + note if note else ''}"

    last = ""

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, said, last
        done, last = done + n, note
        if time.monotonic() - said > 10:
            said = time.monotonic()
            print(line(note), file=sys.stderr, flush=True)

    yield advance
    print(line(last), file=sys.stderr, flush=True)
