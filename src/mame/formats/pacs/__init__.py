"""Sending DICOM objects to an archive: DICOMweb STOW-RS and DIMSE C-STORE, and the ledger of what was accepted."""

from mame.formats.pacs.address import Access, Address, access_from_environment, parse_address
from mame.formats.pacs.ledger import Ledger
from mame.formats.pacs.sending import Lost, Refused, Sendable, Sent, Store, open_store, send_all

__all__ = [
    "Access",
    "Address",
    "Ledger",
    "Lost",
    "Refused",
    "Sendable",
    "Sent",
    "Store",
    "access_from_environment",
    "open_store",
    "parse_address",
    "send_all",
]
