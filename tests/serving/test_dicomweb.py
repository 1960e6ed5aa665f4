"""Who is trusted, who is let in, and how long an archive is waited for, over real HTTPS."""

from __future__ import annotations

import base64
import gc
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.serving.https import Web, web_archive
from tips_med import cli
from tips_med.errors import ConfigError
from tips_med.serving import dicomweb
from tips_med.serving.archive import ArchiveError
from tips_med.serving.connect import open_archive

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with web_archive(tmp_path) as running:
        yield running
    gc.collect()  # connections that broke off are closed here, and not in the midst of another test


def ask(address: str, **options: Any) -> list[str]:
    """The instances of a study that the archive names."""
    with open_archive(address, **options) as archive:
        return archive.instances("1.2.3")


def login(folder: Path, line: str) -> Path:
    (folder / "login").write_text(line + "\n")
    return folder / "login"


def test_an_unknown_authority_is_not_trusted_and_a_named_one_is(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArchiveError, match="certificate is not trusted.*--ca") as refused:
        ask(web.url)
    assert refused.value.code == "untrusted"
    assert web.headers == [], "nothing was asked of it, so no password reached it"
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises(ArchiveError, match="certificate is not trusted"):
        ask(web.url, ca=other)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    assert ask(web.url, ca=web.ca) == ["1.2.3.4"], "what was named counts, not this"


def test_a_certificate_for_another_host_is_not_trusted(web: Web) -> None:
    elsewhere = web.url.replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(ArchiveError):
        ask(elsewhere, ca=web.ca)
    assert web.headers == []


def test_a_file_without_certificates_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "words.pem").write_text("words")
    for name in ("words.pem", "none.pem"):
        with pytest.raises(ConfigError, match="holds no certificates"):
            open_archive("https://127.0.0.1:1/dicom-web", ca=tmp_path / name)


@pytest.mark.parametrize(
    ("line", "header"),
    [("me:secret", "Basic " + base64.b64encode(b"me:secret").decode()), ("Bearer abc", "Bearer abc")],
)
def test_who_is_let_in(web: Web, tmp_path: Path, line: str, header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    web.wanted = header
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))  # is not asked where credentials are named
    credentials = login(tmp_path, line)
    assert ask(web.url, ca=web.ca, credentials=credentials) == ["1.2.3.4"]
    before = len(web.headers)
    for wrong in (login(tmp_path, line.replace("c", "x")), None):
        with pytest.raises(ArchiveError, match=r"answered 401\. Check the credentials") as refused:
            ask(web.url, ca=web.ca, credentials=wrong)
        assert refused.value.code == "refused"
    assert len(web.headers) == before + 2, "a refusal is not tried again"


def test_credentials_go_over_plain_http_only_when_told_to(tmp_path: Path) -> None:
    credentials = login(tmp_path, "me:secret")
    for address in ("http://pacs.example/dicom-web", "http://127.0.0.1:1/dicom-web"):
        with pytest.raises(ConfigError, match="plain http") as refused:
            open_archive(address, credentials=credentials)
        assert refused.value.code == "plain-http" and "secret" not in str(refused.value)
        open_archive(address, credentials=credentials, plain_http_credentials=True)
        open_archive(address)
    open_archive("https://pacs.example/dicom-web", credentials=credentials)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/html; charset=utf-8", b"<html>please log in</html>"),
        ("application/dicom+json", b"<html>please log in</html>"),
        ("application/json", b'{"error": "no"}'),
        ("application/json", b'["no"]'),
        ("application/json", b'[{"00080018": "no"}]'),
        ("", b""),
    ],
)
def test_what_is_no_dicomweb_is_not_said_to_be_down(web: Web, tmp_path: Path, kind: str, content: bytes) -> None:
    web.answer = kind, content
    with open_archive(web.url, ca=web.ca) as archive:
        if content:
            with pytest.raises(ArchiveError) as refused:
                archive.instances("1.2.3")
            assert refused.value.code in ("not-dicomweb", "not-dicom") and "cannot be reached" not in str(refused.value)
            assert refused.value.remedy
        with pytest.raises(ArchiveError) as refused:
            list(archive.retrieve("1.2.3", tmp_path))
    assert refused.value.code == "not-dicomweb"


def test_text_without_end_is_not_kept(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "_MAX_JSON_BYTES", 10_000)
    web.answer = "application/dicom+json", b"[" + b" " * 20_000 + b"]"
    with pytest.raises(ArchiveError) as refused:
        ask(web.url, ca=web.ca)
    assert refused.value.code == "too-large"


def test_on_the_command_line_it_is_one_line(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    web.wanted = "Bearer right"
    line = ["fetch", "--archive", web.url, "--study", "1.2.3", "--out", str(tmp_path / "out"), "--timeout-s", "5"]
    own = ["--ca", str(web.ca), "--credentials", str(login(tmp_path, "Bearer wrongtoken"))]
    for more, said in ((own, "answered 401"), ([], "certificate is not trusted")):
        assert cli.main([*line, *more]) == 2
        told = capsys.readouterr().err
        assert said in told and told.startswith("tips-med: ") and told.count("\n") == 1
        for secret in ("wrongtoken", "ZZPLANTED", "Traceback"):
            assert secret not in told + caplog.text
    assert not (tmp_path / "out").exists()


def test_an_archive_that_is_busy_is_asked_again_a_few_times(web: Web) -> None:
    web.statuses = [503, 503]
    assert ask(web.url, ca=web.ca) == ["1.2.3.4"]
    assert len(web.headers) == 2 + 2, "twice busy, then the page and the one after it"
    before = len(web.headers)
    web.statuses = [503] * 50
    with pytest.raises(ArchiveError) as refused:
        ask(web.url, ca=web.ca)
    assert refused.value.code == "unreachable", "a node waits for it"
    assert len(web.headers) == before + 4, "one try and three more"
    assert "ZZPLANTED" not in str(refused.value)


def test_an_archive_that_says_nothing_is_not_waited_for(web: Web) -> None:
    web.silent = threading.Event()
    with pytest.raises(ArchiveError, match="cannot be reached") as refused:
        ask(web.url, ca=web.ca, timeout_s=0.3)
    assert refused.value.code == "unreachable"
    assert len(web.headers) <= 4
