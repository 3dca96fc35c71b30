"""Sending to archives that are well, and to ones that are down, slow, choosy, or drop the connection in the middle."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian

from mame.errors import MameError
from mame.formats.dicom import write_dicom
from mame.formats.pacs import (
    Access,
    Ledger,
    Sendable,
    Sent,
    access_from_environment,
    open_store,
    parse_address,
    send_all,
)
from mame.mammogram import Mammogram

pynetdicom = pytest.importorskip("pynetdicom", reason="the extra `pacs` is not installed: NOTHING was sent")
pytest.importorskip("dicomweb_client", reason="the extra `pacs` is not installed: NOTHING was sent")

MG = "1.2.840.10008.5.1.4.1.1.1.2"
OBJECTS = 5


@pytest.fixture
def objects(generated: Mammogram, tmp_path: Path) -> list[Sendable]:
    """Five small objects."""
    small = generated.with_(pixels=generated.pixels[::8, ::8].copy(), spacing_mm=4.0)
    found = []
    for number in range(OBJECTS):
        path = tmp_path / f"{number}.dcm"
        write_dicom(small, path, seed=f"object {number}")
        found.append(Sendable(path.name, lambda path=path: dcmread(path)))
    return found


def uid_of(one: Sendable) -> str:
    return str(one.read().SOPInstanceUID)


def sent_to(url: str, objects: list[Sendable], ledger: Path, access: Access | None = None, **how: Any) -> Sent:
    """Sends without waiting between tries."""
    address = parse_address(url)
    store = open_store(address, access or Access(), how.pop("timeout_s", 5.0))
    try:
        with Ledger(ledger, address.url) as book:
            return send_all(store, objects, book, pause=lambda _: None, **how)
    finally:
        store.close()


# -- a web archive that does as it is told ----------------------------------------------------------------------------

Answer = Callable[["Web", str], "tuple[int, dict[str, Any]] | None"]


class Web:
    """A STOW-RS service on loopback. answer: what it does with an object: (status, body), or None to hang up."""

    def __init__(self, answer: Answer, context: Any = None) -> None:
        self.answer, self.asked, self.kept, self.headers = answer, [], [], []  # type: ignore[var-annotated]
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                start = body.index(b"\r\n\r\n") + 4
                dataset = dcmread(BytesIO(body[start : body.rindex(b"\r\n--")]))
                uid = str(dataset.SOPInstanceUID)
                web.asked.append(uid)
                web.headers.append(dict(self.headers))
                said = web.answer(web, uid)
                if said is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, answer = said
                if status == 200 and not answer:
                    web.kept.append(uid)
                    answer = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}}
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/dicom+json; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}/dicom-web"


@contextmanager
def web(answer: Answer, context: Any = None) -> Iterator[Web]:
    found = Web(answer, context)
    threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()


def take(_: Web, __: str) -> tuple[int, dict[str, Any]]:
    return 200, {}


def failed(uid: str, reason: int) -> dict[str, Any]:
    item = {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


def test_what_was_accepted_is_not_sent_again(objects: list[Sendable], tmp_path: Path) -> None:
    told: list[int] = []
    with web(take) as server:
        first = sent_to(server.url, objects[:3], tmp_path / "ledger", progress=told.append)
        again = sent_to(server.url, objects, tmp_path / "ledger")
        assert server.kept == [uid_of(one) for one in objects]
    assert (first.accepted, again.accepted, again.before, told) == (3, 2, 3, [1, 2, 3])
    with web(take) as other:  # another archive has nothing yet
        assert sent_to(other.url, objects, tmp_path / "ledger").accepted == OBJECTS


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (409, 0xA900, "data set does not match SOP class (A900)"),
        (202, 0x0122, "SOP class not supported (0122)"),
        (200, 0xC001, "cannot understand (C001)"),
        (400, None, "HTTP 400 Bad Request"),
    ],
)
def test_one_that_is_refused_stops_no_other(
    objects: list[Sendable], tmp_path: Path, status: int, body: int | None, said: str
) -> None:
    wrong = uid_of(objects[2])

    def answer(_: Web, uid: str) -> tuple[int, dict[str, Any]]:
        return (200, {}) if uid != wrong else (status, {} if body is None else failed(uid, body))

    with web(answer) as server:
        sent = sent_to(server.url, objects, tmp_path / "ledger")
        assert (sent.accepted, sent.refused, sent.lost) == (OBJECTS - 1, {"2.dcm": said}, {})
        assert server.asked.count(wrong) == 1
        lines = [json.loads(line) for line in (tmp_path / "ledger").read_text().splitlines()]
        assert [line["answer"] for line in lines] == ["accepted", "accepted", "refused", "accepted", "accepted"]
        assert (lines[2]["reason"], lines[2]["sop_instance_uid"]) == (said, wrong)
        server.answer = take
        assert sent_to(server.url, objects, tmp_path / "ledger").accepted == 1


def test_a_connection_that_drops_in_the_middle_is_made_anew(objects: list[Sendable], tmp_path: Path) -> None:
    with web(lambda server, uid: None if len(server.asked) == 3 else (200, {})) as server:
        sent = sent_to(server.url, objects, tmp_path / "ledger")
    assert (sent.accepted, sent.lost) == (OBJECTS, {})
    assert server.kept == [uid_of(one) for one in objects]
    assert len(server.asked) == OBJECTS + 1


def test_one_that_always_drops_the_connection_is_left_out(objects: list[Sendable], tmp_path: Path) -> None:
    wrong = uid_of(objects[1])
    with web(lambda _, uid: None if uid == wrong else (200, {})) as server:
        sent = sent_to(server.url, objects, tmp_path / "ledger", retries=2)
        assert sent.accepted == OBJECTS - 1
        assert set(sent.lost) == {"1.dcm"}
        assert server.asked.count(wrong) == 3
        server.answer = take
        assert sent_to(server.url, objects, tmp_path / "ledger").accepted == 1


def test_later_means_later(objects: list[Sendable], tmp_path: Path) -> None:
    with web(lambda server, uid: (503, {}) if len(server.asked) < 4 else (200, {})) as server:
        pauses: list[float] = []
        address = parse_address(server.url)
        with Ledger(tmp_path / "ledger", address.url) as ledger:
            store = open_store(address, Access(), 5)
            assert send_all(store, objects, ledger, pause=pauses.append).accepted == OBJECTS
            store.close()
    assert pauses == [0.5, 1, 2]


def test_one_that_is_slow_is_asked_again(objects: list[Sendable], tmp_path: Path) -> None:
    def answer(server: Web, _: str) -> tuple[int, dict[str, Any]]:
        time.sleep(0.8 if len(server.asked) == 2 else 0)
        return 200, {}

    with web(answer) as server:
        assert sent_to(server.url, objects, tmp_path / "ledger", timeout_s=0.4).accepted == OBJECTS
        assert len(server.asked) == OBJECTS + 1


def test_one_that_is_down_is_told_in_one_line(objects: list[Sendable], tmp_path: Path) -> None:
    with web(lambda server, _: (200, {}) if len(server.asked) <= 2 else None) as server:
        with pytest.raises(
            MameError, match=r"no connection, or it was dropped; 2 objects were accepted, and the same command goes on"
        ):
            sent_to(server.url, objects, tmp_path / "ledger", retries=1)
        server.answer = take
        sent = sent_to(server.url, objects, tmp_path / "ledger")
    assert (sent.accepted, sent.before) == (3, 2)
    with pytest.raises(MameError, match="no connection"):
        sent_to(server.url, objects, tmp_path / "other", retries=0)


@pytest.mark.parametrize(
    ("status", "said"), [(401, "MAM_E_PACS_USER"), (403, "MAM_E_PACS_TOKEN"), (404, "no DICOMweb service is there")]
)
def test_nobody_is_let_in(objects: list[Sendable], tmp_path: Path, status: int, said: str) -> None:
    with web(lambda *_: (status, {})) as server, pytest.raises(MameError, match=said):
        sent_to(server.url, objects, tmp_path / "ledger")
    assert len(server.asked) == 1


def test_who_sends(objects: list[Sendable], tmp_path: Path) -> None:
    with web(take) as server:
        sent_to(server.url, objects[:1], tmp_path / "a", Access(user="ann", password="pässword"))
        sent_to(server.url, objects[:1], tmp_path / "b", Access(token="abc.def"))
    basic, bearer = (headers["Authorization"] for headers in server.headers)
    assert base64.b64decode(basic.removeprefix("Basic ")).decode() == "ann:pässword"
    assert bearer == "Bearer abc.def"
    assert "abc" not in (tmp_path / "b").read_text()


# -- C-STORE ----------------------------------------------------------------------------------------------------------


class Node:
    """A storage SCP on loopback. answer: the status of an object, or None to abort the association."""

    def __init__(self, answer: Callable[[Node, str], int | None], **how: Any) -> None:
        self.answer, self.asked, self.kept, self.identities = answer, [], [], []  # type: ignore[var-annotated]
        entity = pynetdicom.AE("ARCHIVE")
        entity.add_supported_context(MG, ExplicitVRLittleEndian)
        entity.require_called_aet = True
        handlers = [(pynetdicom.evt.EVT_C_STORE, self._store), (pynetdicom.evt.EVT_USER_ID, self._identity)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, **how)
        self.port = self.server.socket.getsockname()[1]

    def _store(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.asked.append(uid)
        status = self.answer(self, uid)
        if status is None:
            event.assoc.abort()
            return 0xC000
        if status == 0 or 0xB000 <= status < 0xC000:
            self.kept.append(uid)
        return status

    def _identity(self, event: Any) -> tuple[bool, bytes | None]:
        self.identities.append((event.user_id_type, event.primary_field, event.secondary_field))
        return True, None


@contextmanager
def node(answer: Callable[[Node, str], int | None], **how: Any) -> Iterator[Node]:
    found = Node(answer, **how)
    try:
        yield found
    finally:
        found.server.shutdown()


def test_c_store_with_refusals_retries_and_a_lost_association(objects: list[Sendable], tmp_path: Path) -> None:
    uids = [uid_of(one) for one in objects]
    first: dict[int, int | None] = {0: 0xB000, 1: 0xA700, 2: 0xA900, 3: None}

    def answer(server: Node, uid: str) -> int | None:
        number = uids.index(uid)
        return first.get(number, 0) if server.asked.count(uid) == 1 or number == 2 else 0

    with node(answer) as server:
        url = f"dicom://ARCHIVE@127.0.0.1:{server.port}"
        sent = sent_to(url, objects, tmp_path / "ledger")
        assert (sent.accepted, sent.lost) == (OBJECTS - 1, {})
        assert sent.refused == {"2.dcm": "status A900"}
        assert server.kept == [uids[0], uids[1], uids[3], uids[4]]
        assert [server.asked.count(uid) for uid in uids] == [1, 2, 1, 2, 1]
        server.answer = lambda *_: 0
        again = sent_to(url, objects, tmp_path / "ledger")
    assert (again.accepted, again.before) == (1, OBJECTS - 1)


def test_a_node_that_is_down_or_calls_itself_otherwise(objects: list[Sendable], tmp_path: Path) -> None:
    with node(lambda *_: 0) as server:
        with pytest.raises(MameError, match="rejected: Called AE title not recognised; are the titles right"):
            sent_to(f"dicom://OTHER@127.0.0.1:{server.port}", objects, tmp_path / "ledger")
        port = server.port
    with pytest.raises(MameError, match="nobody answers there; 0 objects were accepted"):
        sent_to(f"dicom://ARCHIVE@127.0.0.1:{port}", objects, tmp_path / "ledger", retries=0)


def test_a_node_that_takes_no_mammograms(objects: list[Sendable], tmp_path: Path) -> None:
    entity = pynetdicom.AE("ARCHIVE")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2")  # CT
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        port = server.socket.getsockname()[1]
        sent = sent_to(f"dicom://ARCHIVE@127.0.0.1:{port}", objects[:2], tmp_path / "ledger", retries=0)
        assert set(sent.refused) == {"0.dcm", "1.dcm"}
    finally:
        server.shutdown()


def test_who_associates(objects: list[Sendable], tmp_path: Path) -> None:
    with node(lambda *_: 0) as server:
        url = f"dicom://ARCHIVE@127.0.0.1:{server.port}"
        sent_to(url, objects[:1], tmp_path / "a", Access(user="ann", password="secret"))
        sent_to(url, objects[:1], tmp_path / "b", Access(token="abc"))
    assert [(kind, bytes(first)) for kind, first, _ in server.identities] == [(2, b"ann"), (5, b"abc")]


# -- TLS --------------------------------------------------------------------------------------------------------------


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of 127.0.0.1, its own authority."""
    certificate, key = folder / "own.pem", folder / "own.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def server_context(own: tuple[Path, Path]) -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own)
    return context


def test_tls_on_the_web(objects: list[Sendable], tmp_path: Path, own: tuple[Path, Path]) -> None:
    with web(take, server_context(own)) as server:
        access = Access(token="abc", authority=own[0])
        assert sent_to(server.url, objects, tmp_path / "a", access).accepted == OBJECTS
        with pytest.raises(MameError, match=r"TLS failed: .*certificate"):
            sent_to(server.url, objects, tmp_path / "b")


def test_tls_of_associations(objects: list[Sendable], tmp_path: Path, own: tuple[Path, Path]) -> None:
    with node(lambda *_: 0, ssl_context=server_context(own)) as server:
        url = f"dicoms://ARCHIVE@127.0.0.1:{server.port}"
        assert sent_to(url, objects, tmp_path / "a", Access(authority=own[0])).accepted == OBJECTS
        with pytest.raises(MameError, match="no association"):
            sent_to(url, objects, tmp_path / "b", retries=0)  # an authority that nobody knows
        assert len(server.kept) == OBJECTS


# -- what a user can do wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("pacs.example.org", "give https://HOST/PATH"),
        ("ftp://pacs.example.org/", "give https://HOST/PATH"),
        ("https:///dicom-web", "names no host"),
        ("https://pacs.example.org:99999/", "not an address"),
        ("https://ann:secret@pacs.example.org/", "MAM_E_PACS_USER and MAM_E_PACS_PASSWORD in the environment"),
        ("https://pacs.example.org/dicom-web?study=1", "ends with its path"),
        ("dicom://pacs.example.org:104", "give dicom://TITLE@HOST:PORT"),
        ("dicom://TITLE@pacs.example.org", "give dicom://TITLE@HOST:PORT"),
        ("dicom://LONGER_THAN_SIXTEEN@pacs.example.org:104", "at most 16 letters"),
    ],
)
def test_addresses_that_are_none(url: str, said: str) -> None:
    with pytest.raises(MameError) as error:
        parse_address(url)
    assert said in str(error.value)
    assert "secret" not in str(error.value)


def test_secrets_come_from_the_environment_and_never_go_in_the_clear() -> None:
    user = {"MAM_E_PACS_USER": "ann", "MAM_E_PACS_PASSWORD": "secret"}
    access = access_from_environment(environment=user)
    assert (access.user, access.password, access.token) == ("ann", "secret", None)
    with pytest.raises(MameError, match="both set"):
        access_from_environment(environment=user | {"MAM_E_PACS_TOKEN": "abc"})
    with pytest.raises(MameError, match="must both be set"):
        access_from_environment(environment={"MAM_E_PACS_USER": "ann"})
    for url, better in (("http://10.0.0.1/dicom-web", "https"), ("dicom://A@pacs.example.org:104", "dicoms")):
        with pytest.raises(MameError, match=f"in the clear; use {better}://"):
            open_store(parse_address(url), access, 1)


def test_a_file_that_is_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(MameError, match=r"ca\.pem: not PEM files"):
        open_store(parse_address("https://127.0.0.1/"), Access(authority=tmp_path / "ca.pem"), 1)


def test_a_line_that_was_cut_off_is_forgotten(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger", "a") as ledger:
        ledger.note("0", "1.2")
        ledger.note("1", "1.3", "no")
    whole = (tmp_path / "ledger").read_bytes()
    (tmp_path / "ledger").write_bytes(whole + whole.splitlines()[0][:30])
    with Ledger(tmp_path / "ledger", "a") as ledger:
        assert ledger.answers == {"0": "accepted", "1": "refused"}
    assert (tmp_path / "ledger").read_bytes() == whole
    with Ledger(tmp_path / "ledger", "b") as other:
        assert not other.is_accepted("0")


def test_nothing_is_read_that_was_accepted(objects: list[Sendable], tmp_path: Path) -> None:
    def unreadable() -> FileDataset:
        raise AssertionError

    with web(take) as server:
        sent_to(server.url, objects[:2], tmp_path / "ledger")
        again = [Sendable(one.name, unreadable) for one in objects[:2]]
        assert sent_to(server.url, again, tmp_path / "ledger").before == 2
