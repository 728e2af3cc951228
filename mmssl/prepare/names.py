"""How ids of a source become ids of a store, and the secret that pseudonyms are made with."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmssl import console
from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare.settings import Prepare


@dataclass(frozen=True)
class Names:
    """How ids of the source become ids of the store."""

    key: bytes | None
    """The secret of the pseudonyms; None: ids stay as given."""
    new: Path | None = None
    """Where `keep` is to write the secret, which is in no file yet."""

    @property
    def key_id(self) -> str | None:
        """Names the key without telling it."""
        return None if self.key is None else hashlib.sha256(b"key id\0" + self.key).hexdigest()[:16]

    def of(self, kind: str, value: str) -> str:
        """The id of a patient, study or source.

        >>> Names(None).of("patient", "7"), len(Names(b"secret").of("patient", "7"))
        ('7', 32)
        """
        if self.key is None:
            return value
        return hmac.new(self.key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()[:32]

    def keep(self) -> None:
        """Writes a secret that was just made, once there is a store that needs it.

        Raises:
            CannotDo: where there is one by now, or it cannot be written.
        """
        if self.new is None or self.key is None:
            return
        if self.new.exists():
            raise CannotDo(f"{self.new} was made by another process meanwhile; run the same command again")
        try:
            write_private(self.new, [self.key.decode() + "\n"])
        except OSError as error:
            raise CannotDo(f"{self.new}: the key cannot be made: {error.strerror}") from None
        console.say(f"made {self.new}, the secret of this store's pseudonyms: keep it, and never beside a shared copy")


def names(settings: Prepare, store: Path, *, keyed: bool, may_make: bool = True) -> Names:
    """Pseudonyms with the key that is given, or with STORE.key; where that is missing, with one that `keep` writes.

    Args:
        settings: may name the key.
        store: need not be there.
        keyed: False: ids stay as given, and there is no key.
        may_make: False where the store is there already: a new key would not be its own.

    Raises:
        WrongUse: where the key that is named does not exist, or may not be made.
        CannotDo: where it cannot be read.
    """
    if not keyed:
        return Names(None)
    path = settings.key or beside(store, "key")
    try:
        if settings.key is not None and not path.is_file():
            raise WrongUse(f"key={path}: no such file; leave it out and {beside(store, 'key')} is made")
        if not path.exists() and not may_make:
            raise WrongUse(
                f"{store} was made with a key that is not at {path}: put it back, or name it with key=FILE; else "
                "prepare into a new folder"
            )
        if not path.exists():
            return Names(secrets.token_hex(32).encode(), new=path)
        secret = path.read_bytes().strip()
    except OSError as error:
        raise CannotDo(f"{path}: the key cannot be read: {error.strerror}") from None
    if len(secret) < 16:
        raise WrongUse(f"{path}: a key has at least 16 bytes, this one {len(secret)}")
    return Names(secret)


def beside(store: Path, ending: str) -> Path:
    """A file that belongs to a store and is not in it: STORE.key, STORE.sources.private."""
    return store.with_name(f"{store.name}.{ending}")


def write_private(path: Path, lines: Iterable[str]) -> None:
    """A file that only its owner may read, from its first byte on."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
