"""The places of a job: its store, the files beside it, and the folder for what is decoded, which one process holds."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mmssl import console, files
from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare import names


def is_filled(store: Path) -> bool:
    return store.is_dir() and any(store.iterdir())


def named(path: Path | str) -> Path:
    """A path with a name to put others beside: `.` has none."""
    path = Path(path).expanduser()
    return path if path.name not in ("", "..") else path.resolve()


@contextlib.contextmanager
def spool_folder(store: Path, holds: list[Any]) -> Iterator[Path]:
    """A folder beside the store for what is decoded; it outlives an interruption, so that the next call goes on."""
    folder = store.with_name(f".{store.name}.prepare")
    with _locked(folder, store):
        job = files.hash_json(holds)
        told = folder / "job"
        if not told.is_file() or told.read_text() != job:
            for old in folder.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
                elif old.name != "lock":
                    old.unlink()
            told.write_text(job)
        try:
            yield folder
        except KeyboardInterrupt:
            console.say(f"stopped; the same command goes on from here (what is decoded waits in {folder})")
            raise
        except (OSError, CannotDo, WrongUse):
            shutil.rmtree(folder, ignore_errors=True)  # a full disk is freed again
            raise
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, store: Path) -> Iterator[None]:
    """The folder, made where it is not there, for this process alone; one that came first removes it when done."""
    held = folder / "lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with open(held, "a") as lock:
            _hold(lock, store)
            if held.exists() and os.path.samestat(os.fstat(lock.fileno()), held.stat()):
                yield
                return


@contextlib.contextmanager
def cleaned_beside(store: Path) -> Iterator[None]:
    """Takes the files beside a store away again where they were made for one that did not come about."""
    made = [path for path in (names.beside(store, "key"), names.beside(store, "sources.private")) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in made if not is_filled(store) else ():  # one that is in place needs its key
            path.unlink(missing_ok=True)
        raise


def _hold(lock: IO[str], store: Path) -> None:
    """Keeps a second `prepare` off; waits for the workers of one that was killed."""
    for _ in range(30):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            return
    raise CannotDo(f"{store} is being prepared by another process")


@contextlib.contextmanager
def explained(store: Path) -> Iterator[None]:
    """What the system refuses (no space, no permission), as one sentence that names the place."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        where = error.filename or store.parent
        raise CannotDo(f"{store} cannot be made, and nothing of it is left: {where}: {why}") from error
