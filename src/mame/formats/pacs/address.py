"""Where an archive is, and how one gets in. Secrets come from the environment: a command line is seen by others.

https://HOST[:PORT]/PATH       DICOMweb, STOW-RS
dicom://CALLED@HOST:PORT       DIMSE, C-STORE; dicoms:// with TLS
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mame.errors import MameError

USER, PASSWORD, TOKEN = "MAM_E_PACS_USER", "MAM_E_PACS_PASSWORD", "MAM_E_PACS_TOKEN"
WEB = ("http", "https")
DIMSE = ("dicom", "dicoms")
LONGEST_TITLE = 16  # of an application entity (PS3.5 6.2, AE)


@dataclass(frozen=True, slots=True)
class Address:
    """An archive. url: without secrets, as the ledger names it; title: of its application entity, "" on the web."""

    url: str
    scheme: str
    host: str
    port: int
    title: str = ""

    @property
    def is_web(self) -> bool:
        """Whether it is spoken to by HTTP."""
        return self.scheme in WEB

    @property
    def is_encrypted(self) -> bool:
        """Whether what is sent can't be read on the way."""
        return self.scheme in ("https", "dicoms")

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, so that nothing goes over a network."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in. user and password, or token; authority, certificate, key: PEM files for TLS."""

    user: str | None = None
    password: str | None = None
    token: str | None = None
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def is_secret(self) -> bool:
        """Whether there is anything that nobody else must read."""
        return self.token is not None or self.user is not None

    def tls(self) -> ssl.SSLContext:
        """What TLS needs: certificates are always checked. Raises MameError for a file that is no certificate."""
        try:
            context = ssl.create_default_context(cafile=self.authority)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            names = ", ".join(str(path) for path in (self.authority, self.certificate, self.key) if path is not None)
            raise MameError(f"{names}: not PEM files that TLS can use: {error.strerror or error}") from None
        return context


def parse_address(url: str) -> Address:
    """The archive that a URL names. Raises MameError for another scheme, no host or port, and secrets in it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise MameError(f"{url!r}: not an address: {error}") from None
    if parts.scheme not in (*WEB, *DIMSE):
        raise MameError(f"{url!r}: give https://HOST/PATH (DICOMweb), or dicom://TITLE@HOST:PORT or dicoms://… (DIMSE)")
    if not parts.hostname:
        raise MameError(f"{url!r}: names no host")
    if parts.scheme in WEB:
        if parts.username or parts.password:
            raise MameError(f"the URL holds a user or password: give them as {USER} and {PASSWORD} in the environment")
        if parts.query or parts.fragment:
            raise MameError(f"{url!r}: an address of a DICOMweb service ends with its path")
        return Address(url.rstrip("/"), parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))
    title = parts.username or ""
    if parts.password or not 0 < len(title) <= LONGEST_TITLE or port is None or parts.path.strip("/"):
        raise MameError(f"{url!r}: give {parts.scheme}://TITLE@HOST:PORT, the title of at most {LONGEST_TITLE} letters")
    return Address(url.rstrip("/"), parts.scheme, parts.hostname, port, title)


def access_from_environment(
    authority: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    *,
    environment: Mapping[str, str],
) -> Access:
    """Access with the secrets that the environment holds. Raises MameError for a password without a user, or both."""
    user, password, token = (environment.get(name) or None for name in (USER, PASSWORD, TOKEN))
    if token is not None and user is not None:
        raise MameError(f"{TOKEN} and {USER} are both set: an archive takes one of them")
    if (user is None) != (password is None):
        raise MameError(f"{USER} and {PASSWORD} must both be set, or neither")
    return Access(user, password, token, authority, certificate, key)


def check_private(address: Address, access: Access) -> None:
    """Raises MameError where secrets would go over a network for everybody to read."""
    if access.is_secret and not address.is_encrypted and not address.is_here:
        better = "https" if address.is_web else "dicoms"
        raise MameError(f"{address.url}: a password or token would go in the clear; use {better}://")
