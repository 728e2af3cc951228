"""Long sequences on disk: what is known of millions of studies, of which one at a time is in memory."""

import contextlib
import json
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Spill(Sequence[T], Generic[T]):
    """A sequence that only grows, in a file without a name, which is gone with the process.

    >>> told = Spill(plain=dict, whole=dict)
    >>> told.append({"a": datetime(2020, 1, 2), "b": [1.5, None]})
    >>> told[0], len(told), [*told] == [told[0]]
    ({'a': datetime.datetime(2020, 1, 2, 0, 0), 'b': [1.5, None]}, 1, True)
    """

    def __init__(
        self, plain: Callable[[T], Any], whole: Callable[[Any], T], items: Iterable[T] = (), folder: Path | None = None
    ) -> None:
        """Empty, or with items.

        Args:
            plain: an item as lists and dicts of text, numbers, dates and None; anything else becomes text.
            whole: an item of what `plain` made of it.
            items: the first ones.
            folder: where the file is to be; that of temporary files if left out.
        """
        self._plain, self._whole = plain, whole
        self._file = tempfile.TemporaryFile(dir=folder, buffering=1 << 16)  # noqa: SIM115
        self._ends = array("q", [0])
        self._flushed = True
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        line = json.dumps(self._plain(item), default=_tagged).encode()
        self._file.write(line)
        self._ends.append(self._ends[-1] + len(line))
        self._flushed = False

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, which was said before
            self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> list[T]: ...

    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = place + len(self) if place < 0 else place
        if not 0 <= number < len(self):
            raise IndexError(f"item {place} of {len(self)}")
        return self._read(self._ends[number], self._ends[number + 1])

    def __iter__(self) -> Iterator[T]:
        for number in range(len(self)):
            yield self[number]

    def _read(self, start: int, end: int) -> T:
        if not self._flushed:
            self._file.flush()
            self._flushed = True
        line = os.pread(self._file.fileno(), end - start, start)
        return self._whole(json.loads(line, object_hook=_untagged))


_DATE, _MOMENT = "\0date", "\0moment"


def _tagged(value: Any) -> Any:
    if isinstance(value, datetime):
        return {_MOMENT: value.isoformat()}
    if isinstance(value, date):
        return {_DATE: value.isoformat()}
    return str(value)


def _untagged(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        if _MOMENT in found:
            return datetime.fromisoformat(found[_MOMENT])
        if _DATE in found:
            return date.fromisoformat(found[_DATE])
    return found
