"""DIMSE: objects stored by C-STORE (PS3.4 annex B) over one association, opened anew where it is lost."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    SegmentationStorage,
)

from mame.errors import MameError
from mame.formats.pacs.address import PASSWORD, TOKEN, USER, Access, Address
from mame.formats.pacs.sending import Lost, Refused

OWN_TITLE = "MAM-E"
KINDS = (DigitalMammographyXRayImageStorageForPresentation, SegmentationStorage, ComprehensiveSRStorage)
# PS3.4 Table B.2-1
SUCCESS = 0x0000
WARNINGS = range(0xB000, 0xC000)  # stored, with something changed
OUT_OF_RESOURCES = range(0xA700, 0xA800)
USER_AND_PASSWORD, WEB_TOKEN = 2, 5  # PS3.7 Table D.3-14


class DimseStore:
    """One archive, by DIMSE."""

    def __init__(self, address: Address, access: Access, timeout_s: float) -> None:
        self.address = address
        self._entity = ApplicationEntity(OWN_TITLE)
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.network_timeout = timeout_s
        self._entity.connection_timeout = timeout_s
        for kind in KINDS:
            self._entity.add_requested_context(kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        self._tls = (access.tls(), address.host) if address.is_encrypted else None
        self._identity = _identity(access)
        self._association: Association | None = None

    def send(self, dataset: FileDataset) -> None:
        """As Store says."""
        association = self._associated()
        try:
            status = association.send_c_store(dataset)
        except ValueError as error:  # its class, or its transfer syntax, was not agreed on
            raise Refused(" ".join(str(error).split())[:200]) from None
        except (RuntimeError, OSError):
            self.close()
            raise Lost("the association was lost") from None
        if "Status" not in status:
            self.close()
            raise Lost("the connection was lost, or no answer came in time")
        code = int(status.Status)
        if code == SUCCESS or code in WARNINGS:
            return
        said = f"status {code:04X}{_comment(status.get('ErrorComment'))}"
        raise Lost(said) if code in OUT_OF_RESOURCES else Refused(said)

    def close(self) -> None:
        """As Store says."""
        if self._association is not None and self._association.is_established:
            self._association.release()
        self._association = None

    def _associated(self) -> Association:
        if self._association is not None and self._association.is_established:
            return self._association
        address = self.address
        made = self._entity.associate(
            address.host, address.port, ae_title=address.title, ext_neg=self._identity, tls_args=self._tls
        )
        if made.is_rejected:
            primitive = made.acceptor.primitive
            # PS3.8 Table 9-21: transient rejections pass
            if primitive is not None and primitive.result == 0x02:
                raise Lost("the association was rejected for now")
            reason = primitive.reason_str.rstrip(".") if primitive is not None else "for no reason"
            raise MameError(
                f"{address.url}: the association was rejected: {reason}; are the titles right ({OWN_TITLE} to "
                f"{address.title}), and {USER}, {PASSWORD} or {TOKEN}?"
            )
        if made.rejected_contexts and not made.is_established:
            raise Refused("it takes no object of this kind")
        if not made.is_established:
            raise Lost("no association: nobody answers there")
        self._association = made
        return made


def _identity(access: Access) -> list[Any]:
    """What says who asks for the association (PS3.7 D.3.3.7)."""
    item = UserIdentityNegotiation()
    if access.token is not None:
        item.user_identity_type, item.primary_field = WEB_TOKEN, access.token.encode()
    elif access.user is not None and access.password is not None:
        item.user_identity_type = USER_AND_PASSWORD
        item.primary_field, item.secondary_field = access.user.encode(), access.password.encode()
    else:
        return []
    item.positive_response_requested = False
    return [item]


def _comment(said: object) -> str:
    return f": {' '.join(str(said).split())}" if said else ""
