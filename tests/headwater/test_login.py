"""Logins: kept for each control plane, and sent to no other."""

import io
import json
import os
import pty
import re
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest
from headwater import credentials
from headwater.authority import Impostor, fetched, parsed
from headwater.client import Client
from headwater.credentials import Credentials, Login, is_private, plain
from headwater.errors import Forbidden, HeadwaterError, Invalid, Unauthenticated, Unexpected, Unreachable, Untrusted

from tests.headwater.impostor import impostor
from tests.headwater.shell import Said, Shell
from tests.support.secured import Secured, secured

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Serve one control plane for all of these tests."""
    with secured(tmp_path_factory.mktemp("secured")) as one:
        yield one


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Begin without a login, and in an empty folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HEADWATER_TOKEN", raising=False)
    monkeypatch.delenv("HEADWATER_CA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config" / "headwater"


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    """Run commands that are told no address."""
    return Shell("", capsys)


def log_in(shell: Shell, served: Secured, monkeypatch: pytest.MonkeyPatch, role: str = "admin", *more: str) -> Said:
    """Log in by standard input, and by the fingerprint."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(served.tokens[role] + "\n"))
    return shell("login", served.url, *(more or ("--ca-fingerprint", f"sha256:{served.fingerprint}")))


def test_a_login_is_checked_kept_and_used(
    shell: Shell, served: Secured, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it, commands and the SDK need neither address nor token; no other user can read it; a logout forgets it."""
    said = log_in(shell, served, monkeypatch)
    assert (said.code, said.err) == (0, "")
    assert f"logged in to {served.url} as token:the-admin (admin)" in said.out
    assert served.tokens["admin"] not in said.out
    assert [device["id"] for device in shell.json("device", "list")] == ["box-1"]
    with Client() as client:
        assert client.url == served.url
        assert client.whoami().role == "admin"
        assert served.tokens["admin"] not in repr(vars(client)) + repr(credentials.load())
    file = home / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [path.name for path in home.iterdir()] == ["credentials.json"]
    assert "logged out" in shell.ok("logout")
    assert served.tokens["admin"] not in file.read_text()
    with pytest.raises(HeadwaterError), Client(served.url) as client:
        client.whoami()
    assert "not logged in" in shell("logout").err


def test_who_one_is_can_be_asked(shell: Shell, served: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, role, labels and where; until when the token is valid, if it ends; the same as JSON."""
    monkeypatch.setenv("HEADWATER_TOKEN", served.tokens["admin"])
    shell.ok("login", served.url, "--ca", str(served.ca))
    assert shell.ok("whoami") == f"token:the-admin (admin) at {served.url}\n"
    made = shell.json("token", "create", "who", "--label", "site=north", "--ttl", "12h")
    monkeypatch.setenv("HEADWATER_TOKEN", made["text"])
    ends = datetime.fromisoformat(made["token"]["expires_at"])
    told = f"token:who (viewer, limited to site=north) at {served.url}, until {ends:%Y-%m-%d %H:%M} UTC\n"
    assert shell.ok("whoami") == told
    asked = shell.json("whoami")
    assert datetime.fromisoformat(asked.pop("until")) == ends
    assert asked == {"name": "token:who", "role": "viewer", "labels": {"site": "north"}}


@pytest.mark.parametrize("url", ["control.example:8080", "control.example", "127.0.0.1:8080"])
def test_an_address_without_a_scheme_is_given_one(shell: Shell, url: str) -> None:
    """As a suggestion: no token is asked for before it is clear that nobody can listen."""
    said = shell("login", url)
    assert said.code == 2
    assert f"write https://{url}" in " ".join(said.err.replace("│", " ").split())


def test_a_wrong_fingerprint_ends_it_before_the_token_is_sent(
    shell: Shell, served: Secured, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both fingerprints are told; nothing is kept."""
    wrong = "0" * 64
    said = log_in(shell, served, monkeypatch, "admin", "--ca-fingerprint", f"sha256:{wrong}")
    assert said.code == 1
    assert f"sha256:{served.fingerprint}" in said.err
    assert f"sha256:{wrong}" in said.err
    assert sys.stdin.read() == served.tokens["admin"] + "\n"
    assert not home.exists()


def test_a_wrong_token_is_not_kept(shell: Shell, served: Secured, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign one, half of one, and none."""
    for text in (served.tokens["admin"][:-1], "hw_", "a\x00b", "eyJ.e30.x", "", "\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert shell("login", served.url, "--ca", str(served.ca)).code == 1
    assert not home.exists()


def test_the_token_may_come_from_the_environment_and_the_ca_from_a_file(
    shell: Shell, served: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a pipeline; logged in again, the authority known already is enough."""
    monkeypatch.setenv("HEADWATER_TOKEN", served.tokens["viewer"])
    shell.ok("login", served.url, "--ca", str(served.ca))
    monkeypatch.setenv("HEADWATER_TOKEN", served.tokens["operator"])
    assert "(operator)" in shell.ok("login", served.url.upper() + "/")
    assert len(credentials.load().logins) == 1
    both = shell("login", served.url, "--ca", str(served.ca), "--ca-fingerprint", f"sha256:{served.fingerprint}")
    assert both.code == 2


def test_a_token_typed_in_is_not_shown(served: Secured) -> None:
    """On a terminal it is asked for, without an echo."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "headwater.cli", "login", served.url, "--ca", str(served.ca)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        seen = b""
        while b"Token" not in seen:
            seen += os.read(ours, 1000)
        os.write(ours, served.tokens["viewer"].encode() + b"\n")
        try:
            while chunk := os.read(ours, 1000):
                seen += chunk
        except OSError:  # Linux says EIO when the other side has closed
            pass
        assert process.wait(30) == 0, seen
    os.close(ours)
    assert b"the-viewer" in seen
    assert served.tokens["viewer"].encode() not in seen


def test_without_a_login_the_cause_is_told(served: Secured, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown authority, no token, and a role too small: three errors, each with what to do."""
    with pytest.raises(Untrusted, match=r"headwater login .* --ca-fingerprint"), Client(served.url) as client:
        client.whoami()
    with pytest.raises(Untrusted), Client(served.url) as client:
        next(client.runs.watch("run-1"))
    with pytest.raises(Unauthenticated, match="headwater login"), Client(served.url, ca=served.ca) as client:
        client.whoami()
    with Client(served.url, ca=served.ca, token=served.tokens["viewer"]) as client:
        assert client.health().ready
        with pytest.raises(Forbidden, match="needs the role admin"):
            client.tokens.list()
    monkeypatch.setenv("HEADWATER_CA", str(served.ca))
    monkeypatch.setenv("HEADWATER_TOKEN", served.tokens["viewer"])
    assert shell.ok("device", "list", "--url", served.url)
    assert "needs the role admin" in shell("token", "list", "--url", served.url).err


def test_tokens_are_made_listed_and_revoked(shell: Shell, served: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is printed once, alone on standard output, so that it can be put where it belongs."""
    log_in(shell, served, monkeypatch)
    said = shell("token", "create", "ci", "--role", "operator", "--label", "site=north", "--ttl", "12h")
    assert re.fullmatch(r"hw_token-\w+_[0-9a-f]{72}\n", said.out)
    assert "can't be shown again" in said.err
    with Client(token=said.out) as client:
        assert (client.whoami().name, client.whoami().labels) == ("token:ci", {"site": "north"})
    made = next(token for token in shell.json("token", "list") if token["name"] == "ci")
    assert (made["role"], made["created_by"]) == ("operator", "token:the-admin")
    assert "hash" not in made
    assert f"{made['id']} (ci) is revoked" in shell.ok("token", "revoke", made["id"])
    listed = shell.ok("token", "list")
    assert "revoked" in listed
    assert "site=north" in listed
    with pytest.raises(Unauthenticated, match="revoked"), Client(token=said.out) as client:
        client.whoami()
    forever = shell.json("token", "create", "robot", "--ttl", "never")
    assert (forever["token"]["expires_at"], forever["token"]["role"]) == (None, "viewer")
    assert shell("token", "create", "ci").code == 1
    for wrong in (("--ttl", "soon"), ("--ttl", "0d"), ("--role", "king"), ("--label", "site")):
        assert shell("token", "create", "other", *wrong).code == 2


def test_each_control_plane_has_its_own_login(served: Secured) -> None:
    """The token of one is never sent to another, which would learn it; another port is another one."""
    credentials.save(Credentials().with_login(served.url, Login("hw_secret", served.ca.read_text())))
    with impostor(200, {}, b'{"ready": true, "version": ""}') as other, Client(other) as client:
        assert "authorization" not in client._transport._http.headers
    credentials.save(credentials.load().with_login("https://other.example", Login("hw_other", "")))
    known = credentials.load()
    assert known.current == "https://other.example"
    assert known.login(served.url + "/").token == "hw_secret"
    assert known.without("https://other.example").current == ""
    assert known.login("https://other.example:444") == Login()


def test_a_control_plane_started_in_this_folder_comes_before_the_last_login(
    shell: Shell, served: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the token that belongs to its own address."""
    log_in(shell, served, monkeypatch)
    credentials.save(credentials.load().with_login("https://other.example", Login("hw_other", "")))
    Path("headwater-data").mkdir()
    told = json.dumps({"http": served.url, "pid": os.getpid()})
    Path("headwater-data/endpoints.json").write_text(told)
    assert shell.json("device", "list")[0]["id"] == "box-1"


@pytest.mark.parametrize(
    "url", ["http://control.example", "http://192.0.2.1:8080", "http://127.0.0.1.evil.example", "ftp://a"]
)
def test_a_token_is_never_sent_where_others_can_read_it(
    shell: Shell, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by a login nor by the SDK, nor from the environment."""
    monkeypatch.setenv("HEADWATER_TOKEN", "hw_secret")
    assert not is_private(url)
    assert shell("login", url).code == 2
    with pytest.raises(Invalid, match="others could read it"):
        Client(url)
    with pytest.raises(Invalid, match="others could read it"):
        Client(url, token="hw_other")
    monkeypatch.delenv("HEADWATER_TOKEN")
    assert Client(url).url == url


def test_over_plain_http_to_this_machine_it_is_sent() -> None:
    """A tunnel ends here, and nobody listens on loopback."""
    with impostor(200, {}, b'{"name": "loopback", "role": "admin", "labels": {}}') as url:
        assert is_private(url)
        with Client(url, token="hw_secret") as client:
            assert client._transport._http.headers["authorization"] == "Bearer hw_secret"
            assert client.whoami().name == "loopback"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"current": "", "servers": {"a": {}}}', '{"current": "", "servers": []}']
)
def test_a_damaged_file_says_what_to_do(home: Path, content: str) -> None:
    """Delete it and log in again; a link to nowhere or a folder in its place is told too."""
    home.mkdir(parents=True)
    (home / "credentials.json").write_text(content)
    with pytest.raises(Invalid, match=r"credentials\.json is damaged.*headwater login"):
        Client()
    (home / "credentials.json").unlink()
    (home / "credentials.json").mkdir()
    with pytest.raises(Invalid, match="can't read"):
        Client()
    with pytest.raises(Invalid, match="can't write"):
        credentials.save(Credentials())


def test_a_folder_that_others_could_read_is_closed(home: Path) -> None:
    """It may have been made by hand."""
    home.mkdir(parents=True, mode=0o755)
    credentials.save(Credentials().with_login("https://a.example", Login("hw_secret", "")))
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.parametrize("configured", ["", "relative/folder"])
def test_without_xdg_it_is_in_the_home_folder(configured: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path counts as none, by the specification."""
    monkeypatch.setenv("XDG_CONFIG_HOME", configured)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert credentials.place() == tmp_path / ".config" / "headwater" / "credentials.json"


def test_the_ca_is_what_has_the_fingerprint(served: Secured) -> None:
    """With or without colons, in either case; of anything else nothing is taken."""
    digits = served.fingerprint
    colons = ":".join(digits[at : at + 2] for at in range(0, 64, 2))
    for spelled in (digits, f"sha256:{digits}", f"SHA256:{digits.upper()}", f"sha256:{colons}"):
        assert fetched(served.url, spelled) == served.ca.read_text()
    for wrong in ("", "sha256:", digits[:-1], f"{digits}0", f"sha1:{digits}", "g" * 64):
        with pytest.raises(Invalid, match="no fingerprint"):
            parsed(wrong)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"{}"), (200, b"<html>"), (200, b""), (200, b"x" * 100_000), (200, "é".encode()), (302, b"")],
)
def test_a_server_that_gives_no_certificate_is_no_control_plane(status: int, body: bytes) -> None:
    """Whatever it says instead."""
    with impostor(status, {}, body) as url, pytest.raises(Unexpected, match="control plane"):
        fetched(url, "0" * 64)
    with pytest.raises(Unreachable):
        fetched("https://127.0.0.1:1", "0" * 64)


def test_what_comes_behind_the_right_certificate_is_not_trusted(served: Secured) -> None:
    """A second one in the same answer would be an authority that nobody checked."""
    pem = served.ca.read_bytes()
    other = ssl.DER_cert_to_PEM_cert(b"another").encode()
    with impostor(200, {}, pem + other) as url:
        assert fetched(url, served.fingerprint).encode() == pem
    with impostor(200, {}, other + pem) as url, pytest.raises(Impostor, match=sha256(b"another").hexdigest()):
        fetched(url, served.fingerprint)


def test_a_certificate_file_that_is_none_is_told(tmp_path: Path) -> None:
    """Missing, binary, or other text."""
    with pytest.raises(Invalid, match="can't read"):
        Client("https://a.example", ca=tmp_path / "missing.pem")
    for content in (b"\xff\x00", b"no certificate"):
        (tmp_path / "odd.pem").write_bytes(content)
        with pytest.raises(Invalid, match="PEM"):
            Client("https://a.example", ca=tmp_path / "odd.pem")


def test_urls_are_spelled_in_one_way() -> None:
    """So that a slash or capitals make no second control plane."""
    assert {plain(url) for url in ("https://A.example:1/", "HTTPS://a.EXAMPLE:1", " https://a.example:1 ")} == {
        "https://a.example:1"
    }
