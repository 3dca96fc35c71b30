"""DICOMweb: objects stored by STOW-RS (PS3.18 10.5), through dicomweb-client."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileDataset
from requests.auth import AuthBase, HTTPBasicAuth

from mame.errors import MameError
from mame.formats.pacs.address import PASSWORD, TOKEN, USER, Access, Address
from mame.formats.pacs.sending import Lost, Refused

ONE_PIECE = 1 << 40  # larger than any object: not every server takes a body in chunks
LATER = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
KEPT_OUT = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
FAILURES = {  # PS3.18 Table I.2-2
    0x0110: "processing failure",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0xA700: "out of resources",
    0xA900: "data set does not match SOP class",
    0xC000: "cannot understand",
    0xC122: "transfer syntax not supported",
}
OUT_OF_RESOURCES = range(0xA700, 0xA800)


class _Session(requests.Session):
    """A session whose own authority goes before the one that REQUESTS_CA_BUNDLE names, which requests prefers."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        own = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, own, cert)


class _Bearer(AuthBase):
    """A token (RFC 6750). As a header alone, requests would let a .netrc go before it."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class WebStore:
    """One archive, by HTTP."""

    def __init__(self, address: Address, access: Access, timeout_s: float) -> None:
        self.address = address
        session = _Session()
        if access.user is not None and access.password is not None:
            session.auth = HTTPBasicAuth(access.user.encode(), access.password.encode())  # not latin-1, as from text
        elif access.token is not None:
            session.auth = _Bearer(access.token)
        if address.is_encrypted:
            access.tls()  # says which file is none, which requests would not
            session.verify = str(access.authority) if access.authority is not None else True
            if access.certificate is not None:
                session.cert = (str(access.certificate), str(access.key or access.certificate))
        self._session = session
        self._client = DICOMwebClient(
            address.url,
            session=session,
            headers={"Accept": "application/dicom+json"},
            callback=_plain_type,
            chunk_size=ONE_PIECE,
            timeout=timeout_s,
        )
        self._client.set_http_retry_params(retry=False)  # send_all has its own, which knows what a refusal is

    def send(self, dataset: FileDataset) -> None:
        """As Store says."""
        try:
            answer = self._client.store_instances([dataset])
        except requests.HTTPError as error:
            raise self._judged(error) from None
        except requests.exceptions.SSLError as error:
            raise MameError(f"{self.address.url}: TLS failed: {_cause(error)}") from None
        except requests.Timeout:
            raise Lost("no answer in time") from None
        except requests.RequestException:
            raise Lost("no connection, or it was dropped") from None
        except ValueError as error:  # an answer that is neither JSON nor XML
            raise Lost(f"an answer that is none: {_reason(error)}") from None
        _check_stored(answer, str(dataset.SOPInstanceUID))

    def close(self) -> None:
        """As Store says."""
        self._session.close()

    def _judged(self, error: requests.HTTPError) -> Exception:
        response = error.response
        if response is None:
            return Lost("no answer")
        status = response.status_code
        said = f"HTTP {status} {response.reason or ''}".strip()
        if status in KEPT_OUT:
            return MameError(f"{self.address.url}: {said}: set {USER} and {PASSWORD}, or {TOKEN}, in the environment")
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            return MameError(f"{self.address.url}: {said}: no DICOMweb service is there, or it stores nothing")
        return Lost(said) if status in LATER else Refused(_why(response) or said)


def _plain_type(response: requests.Response, *_: Any, **__: Any) -> requests.Response:
    """The content type without parameters such as a charset, with which the client would not know it."""
    kind = response.headers.get("Content-Type")
    if kind is not None:
        response.headers["Content-Type"] = kind.partition(";")[0].strip().lower()
    return response


def _check_stored(answer: Dataset, uid: str) -> None:
    """Raises Refused or Lost where the answer names this object as failed (PS3.18 I.2)."""
    for item in answer.get("FailedSOPSequence") or ():
        if str(item.get("ReferencedSOPInstanceUID", uid)) == uid:
            code = int(item.get("FailureReason") or 0)
            said = _failure(code)
            raise Lost(said) if code in OUT_OF_RESOURCES else Refused(said)


def _failure(code: int) -> str:
    known = FAILURES.get(code, FAILURES.get(code & 0xFF00, "failure"))
    return f"{known} ({code:04X})"


def _why(response: requests.Response) -> str:
    """What the body of a refusal says (409: the object failed), or ""."""
    try:
        failed = Dataset.from_json(response.json()).get("FailedSOPSequence")
        return _failure(int(failed[0].FailureReason)) if failed else ""
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return ""


def _cause(error: BaseException) -> str:
    """What is at the bottom of a failed connection."""
    inner = error.args[0] if error.args else error
    return _reason(getattr(inner, "reason", None) or inner)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
