"""Sending many objects to one archive: again after a failure, around what is refused, and not once it is accepted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from pydicom.dataset import FileDataset

from mame.errors import MameError
from mame.formats.pacs.address import Access, Address, check_private
from mame.formats.pacs.ledger import Ledger

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LOST_IN_A_ROW = 2  # objects: one may be too much for an archive, two are an archive that isn't there


class Refused(Exception):  # noqa: N818
    """The archive answered that it does not take this object; sending it again would not help."""


class Lost(Exception):  # noqa: N818
    """No answer, or one that says "later": worth another try."""


@dataclass(frozen=True, slots=True)
class Sendable:
    """An object to send. name: as the ledger calls it; read: its data set with file meta information."""

    name: str
    read: Callable[[], FileDataset]


class Store(Protocol):
    """A connection to an archive."""

    def send(self, dataset: FileDataset) -> None:
        """Sends one object. Raises Refused or Lost, and MameError where nothing at all can be sent."""

    def close(self) -> None:
        """Ends the connection."""


@dataclass
class Sent:
    """What became of the objects. before: had been accepted earlier; refused, lost: name -> reason."""

    accepted: int = 0
    before: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)


def open_store(address: Address, access: Access, timeout_s: float) -> Store:
    """The connection that an address asks for; nothing is sent yet.

    Raises MameError for secrets that would go in the clear, for TLS files that are none, and where the package that
    speaks the protocol is missing.
    """
    check_private(address, access)
    try:
        if address.is_web:
            from mame.formats.pacs.stow import WebStore

            return WebStore(address, access, timeout_s)
        from mame.formats.pacs.dimse import DimseStore

        return DimseStore(address, access, timeout_s)
    except ImportError as error:
        raise MameError(f"sending needs the package {error.name}: pip install 'mam-e[pacs]'") from None


def send_all(
    store: Store,
    objects: Iterable[Sendable],
    ledger: Ledger,
    *,
    retries: int = 4,
    progress: Callable[[int], None] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Sent:
    """Sends every object that the ledger does not call accepted, and notes each answer.

    retries: more tries for an object without an answer, after pauses that double; what is refused is not tried again in
    this run. progress: called with the number of objects dealt with. Raises MameError, with how far it came, where
    two objects one after the other get no answer at all.
    """
    sent, lost_in_a_row = Sent(), 0
    for number, one in enumerate(objects, start=1):
        if ledger.is_accepted(one.name):
            sent.before += 1
        else:
            dataset = one.read()
            uid = str(dataset.SOPInstanceUID)
            try:
                _send(store, dataset, retries, pause)
            except Refused as refusal:
                sent.refused[one.name], lost_in_a_row = str(refusal), 0
                ledger.note(one.name, uid, str(refusal))
            except Lost as loss:
                sent.lost[one.name] = str(loss)
                lost_in_a_row += 1
                if lost_in_a_row >= LOST_IN_A_ROW:
                    raise MameError(
                        f"{ledger.archive}: {loss}; {sent.accepted + sent.before} objects were accepted, and the same "
                        "command goes on after them"
                    ) from None
            else:
                sent.accepted, lost_in_a_row = sent.accepted + 1, 0
                ledger.note(one.name, uid)
        if progress is not None:
            progress(number)
    return sent


def _send(store: Store, dataset: FileDataset, retries: int, pause: Callable[[float], None]) -> None:
    for left in range(retries, -1, -1):
        try:
            store.send(dataset)
            return
        except Lost:
            if not left:
                raise
            pause(min(FIRST_PAUSE_S * 2 ** (retries - left), LONGEST_PAUSE_S))
