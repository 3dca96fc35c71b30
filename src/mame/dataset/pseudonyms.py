"""Pseudonyms: names for patients and pictures that say nothing to who does not hold the key.

A pseudonym is HMAC-SHA256 (RFC 2104) of the identity under a secret key of 256 bits, cut to 64 bits. The key is a file
of the user's, never in a prepared set; a set only tells a fingerprint of it, so that sets made with one key can be
joined patient by patient and others are kept apart.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mame.errors import MameError

KEY_BYTES = 32
DIGITS = 16  # 64 bits: two of a million patients share a name with a chance of 3 in 100 million
CARD_DIGITS = 12
KEY_VARIABLE = "MAM_E_KEY"
PICTURE = "picture"  # the kind of identity that an image's name is


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Names under one secret key."""

    key: bytes

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise MameError(f"a key has {KEY_BYTES} bytes, not {len(self.key)}")

    def __repr__(self) -> str:
        return f"Pseudonyms({self.fingerprint})"

    def name(self, kind: str, source: str, identity: str) -> str:
        """The pseudonym of an identity of that kind (patient, study, picture) in a source: 16 hexadecimal digits."""
        said = "\0".join(("mam-e", kind, source, identity)).encode()
        return hmac.new(self.key, said, hashlib.sha256).hexdigest()[:DIGITS]

    @property
    def fingerprint(self) -> str:
        """What tells keys apart and gives none away."""
        return hashlib.sha256(b"mam-e fingerprint" + self.key).hexdigest()[:DIGITS]


def open_key(path: str | os.PathLike[str] | None = None) -> Pseudonyms:
    """The pseudonyms under the key in a file, which is made (readable for its owner only) where there is none.

    path: default is the file that the variable MAM_E_KEY names, else `mam-e/key` in the user's configuration folder.
    Raises MameError for a file that is no key and a folder that can't be written to.
    """
    place = Path(path) if path is not None else _default()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            _make(place)
        text = place.read_text(encoding="ascii").strip()
        return Pseudonyms(bytes.fromhex(text))
    except OSError as error:
        raise MameError(f"{place}: the key of the pseudonyms: {error.strerror or error}") from None
    except (ValueError, MameError):
        raise MameError(f"{place}: is no key; a key is a line of {2 * KEY_BYTES} hexadecimal digits") from None


def _default() -> Path:
    told = os.environ.get(KEY_VARIABLE)
    if told:
        return Path(told)
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "mam-e" / "key"


def _make(place: Path) -> None:
    """Written beside and linked, so that of two processes that begin at once both read the same whole key."""
    beside = place.with_name(f".{secrets.token_hex(8)}.part")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
        os.link(beside, place)
    finally:
        beside.unlink(missing_ok=True)


def patient_hash(source: str, patient: str) -> str:
    """What a model card keeps of a patient that its model saw: 12 hexadecimal digits of the set and the pseudonym."""
    return hashlib.sha256(f"{source}\0{patient}".encode()).hexdigest()[:CARD_DIGITS]
