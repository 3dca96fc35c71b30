"""A cohort in a real archive: Orthanc takes it, finds it by view and side, and gives the same pixels back."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests
from formats.test_pacs import make_certificate

from mame.errors import MameError
from mame.formats.manifest import read_manifest
from mame.synthesis.cohort.run import synthesize
from mame.synthesis.cohort.send import send

from .conftest import MakePlan

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
START_S = 60


@dataclass
class Orthanc:
    web: str
    dimse: str
    authority: Path


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An archive on loopback with a password on its web door, TLS on the other (with https Debian's crashes)."""
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        pytest.skip("Orthanc (Debian: orthanc, orthanc-dicomweb) is not installed: NOTHING was sent to an archive")
    folder = tmp_path_factory.mktemp("orthanc")
    certificate, key = make_certificate(folder)
    web, dimse = free_port(), free_port()
    said = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": web,
        "DicomPort": dimse,
        "DicomAet": "ORTHANC",
        "DicomAlwaysAllowStore": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"ann": "secret"},
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(certificate),
        "DicomTlsRemoteCertificateRequired": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(said))
    with open(folder / "log", "wb") as log:
        running = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    found = Orthanc(f"http://127.0.0.1:{web}/dicom-web", f"dicoms://ORTHANC@127.0.0.1:{dimse}", certificate)
    try:
        until = time.monotonic() + START_S
        while not is_up(found):
            assert running.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield found
    finally:
        running.terminate()
        running.wait(20)


def is_up(archive: Orthanc) -> bool:
    try:
        return asked(archive, "/studies").status_code in (200, 204)
    except requests.RequestException:
        return False


def asked(archive: Orthanc, path: str) -> requests.Response:
    headers = {"Accept": "application/dicom+json"}
    return requests.get(archive.web + path, auth=("ann", "secret"), headers=headers, timeout=20)


@pytest.fixture
def as_ann(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAM_E_PACS_USER", "ann")
    monkeypatch.setenv("MAM_E_PACS_PASSWORD", "secret")


def fresh(cohort: Path, tmp_path: Path) -> Path:
    """The cohort, not yet sent to anybody."""
    shutil.copytree(cohort, tmp_path / "cohort")
    return tmp_path / "cohort"


@pytest.mark.usefixtures("as_ann")
def test_a_cohort_arrives_is_found_and_comes_back(cohort: Path, tmp_path: Path, orthanc: Orthanc) -> None:
    from dicomweb_client.api import DICOMwebClient
    from dicomweb_client.session_utils import create_session_from_user_pass

    place = fresh(cohort, tmp_path)
    sent = send(place, orthanc.web)
    assert (sent.accepted, sent.refused, sent.lost) == (8 + 4 + 4, {}, {})
    client = DICOMwebClient(orthanc.web, session=create_session_from_user_pass("ann", "secret"))
    for line in read_manifest(place):
        view, side = line["description"]["view"], line["laterality"]
        found = client.search_for_instances(
            search_filters={"ViewPosition": view, "ImageLaterality": side, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}
        )
        assert line["sop_instance_uid"] in {one["00080018"]["Value"][0] for one in found}
        uids = [line[f"{level}_instance_uid"] for level in ("study", "series", "sop")]
        back = client.retrieve_instance(*uids)
        own = pydicom.dcmread(place / line["files"][1])
        np.testing.assert_array_equal(back.pixel_array, own.pixel_array)
        assert (back.SyntheticData, back.PatientID) == ("YES", own.PatientID)
    again = send(place, orthanc.web)
    assert (again.accepted, again.before) == (0, 16)


def test_by_c_store(tmp_path: Path, orthanc: Orthanc, make_plan: MakePlan) -> None:
    plan = make_plan(count=4, cases=True, seed=7, outputs=["dicom", "seg", "sr"])
    place = synthesize(plan, tmp_path / "cohort", workers=1)
    sent = send(place, orthanc.dimse, authority=orthanc.authority)
    assert (sent.refused, sent.lost) == ({}, {})
    assert sent.accepted == 4 + 2 * 2  # one breast of the case has lesions, in both views
    (study,) = {line["study_instance_uid"] for line in read_manifest(place)}
    found = asked(orthanc, f"/studies/{study}/instances").json()
    assert len(found) == sent.accepted


@pytest.mark.usefixtures("as_ann")
def test_shards_are_sent_as_they_lie(tmp_path: Path, orthanc: Orthanc, make_plan: MakePlan) -> None:
    plan = make_plan(count=5, seed=8, outputs=["png", "dicom", "seg"])
    place = synthesize(plan, tmp_path / "cohort", workers=1, shards=2)
    sent = send(place, orthanc.web)
    lines = read_manifest(place)
    assert sent.accepted == 5 + sum(bool(line["lesions"]) for line in lines)
    assert not sent.refused
    for line in lines:
        assert len(asked(orthanc, f"/instances?SOPInstanceUID={line['sop_instance_uid']}").json()) == 1
    assert send(place, orthanc.web).before == sent.accepted


def test_a_wrong_password(cohort: Path, tmp_path: Path, orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAM_E_PACS_USER", "ann")
    monkeypatch.setenv("MAM_E_PACS_PASSWORD", "wrong")
    with pytest.raises(MameError, match="401"):
        send(fresh(cohort, tmp_path), orthanc.web)


def test_what_can_not_be_sent(cohort: Path, tmp_path: Path, make_plan: MakePlan) -> None:
    with pytest.raises(MameError, match="is not a finished cohort"):
        send(tmp_path, "http://127.0.0.1:1/")
    with pytest.raises(MameError, match="can't be -1"):
        send(cohort, "http://127.0.0.1:1/", retries=-1)
    without = synthesize(make_plan(count=1, lesions={"share": 0}, outputs=["png"]), tmp_path / "out", workers=1)
    with pytest.raises(MameError, match="no DICOM objects; add dicom"):
        send(without, "http://127.0.0.1:1/")
    place = fresh(cohort, tmp_path)
    os.truncate(place / "images" / "0001.dcm", 10)
    with pytest.raises(MameError, match="no connection"):
        send(place, "http://127.0.0.1:1/", retries=0)
