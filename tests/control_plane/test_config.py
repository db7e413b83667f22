"""The control plane's settings: where each comes from, and which it refuses to start with."""

import ipaddress
from pathlib import Path

import pytest
from headwater_control.config import BadSetting, Settings, broker_address, load, require_loopback
from hypothesis import given
from hypothesis import strategies as st


def written(folder: Path, text: str) -> Path:
    """Write a configuration."""
    file = folder / "headwater.toml"
    file.write_text(text)
    return file


def test_the_defaults_are_loopback_and_sqlite() -> None:
    """Without any setting the control plane can start, on this machine only."""
    settings = load(None, {}, {})
    assert settings == Settings()
    assert settings.database_url == f"sqlite:///{Path('headwater-data').absolute()}/headwater.db"


def test_a_flag_beats_a_variable_beats_the_file(tmp_path: Path) -> None:
    """The nearer to the command line, the stronger; a flag that was not given changes nothing."""
    file = written(tmp_path, 'http = "127.0.0.1:1"\ngrpc = "127.0.0.1:1"\nmqtt = "127.0.0.1:1"\nuploads = 3\n')
    environment = {"HEADWATER_GRPC": "127.0.0.1:2", "HEADWATER_MQTT": "127.0.0.1:2", "HEADWATER_UPLOADS": "4"}
    settings = load(file, environment, {"mqtt": "127.0.0.1:3", "http": None})
    assert (settings.http, settings.grpc, settings.mqtt) == ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
    assert settings.uploads == 4


def test_variables_of_others_are_left_alone() -> None:
    """The agent and the client have HEADWATER_ variables too: here an unknown one is no mistake."""
    assert load(None, {"HEADWATER_URL": "http://127.0.0.1:1", "HEADWATER_DEVICE": "box-1"}, {}) == Settings()


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ('http = "127.0.0.1:0"\n\nhtpt = "x"\n', 3, "unknown key 'htpt'"),
        ("# a comment\n[tls]\ncert = 1\n", 2, "unknown key 'tls'"),
        ('uploads = "many"\n', 1, "uploads is 'many', and must be a whole number"),
        ("uploads = 0\n", 1, "uploads is 0, and must be at least 1"),
        ("data_dir = 7\n", 1, "data_dir is 7, and must be a text"),
        ("uploads = true\n", 1, "uploads is True, and must be a whole number"),
        ('insecure = true\nhttp = "0.0.0.0:80"\n', 2, "Leave `insecure` out"),
        ('insecure = "perhaps"\n', 1, "insecure is 'perhaps', and must be true or false"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, line: int, sentence: str) -> None:
    """The message has the key, the file and the line."""
    file = written(tmp_path, text)
    with pytest.raises(BadSetting) as refused:
        load(file, {}, {})
    assert f"{file}, line {line}" in str(refused.value)
    assert sentence in str(refused.value)


def test_what_is_no_toml_or_no_file_is_refused(tmp_path: Path) -> None:
    """With the place of the mistake, or the reason."""
    with pytest.raises(BadSetting, match="line 1"):
        load(written(tmp_path, "= nothing"), {}, {})
    with pytest.raises(BadSetting, match="No such file"):
        load(tmp_path / "missing.toml", {}, {})


@pytest.mark.parametrize("name", ["http", "grpc", "enrol", "mqtt"])
@pytest.mark.parametrize("place", ["0.0.0.0:80", "192.168.0.5:80", "[::]:80", "example.org:80", "127.0.0.1.nip.io:80"])
def test_without_tls_nothing_but_loopback_is_bound(name: str, place: str) -> None:
    """An address that others can reach is refused with the reason and a way out; with TLS it is taken."""
    with pytest.raises(BadSetting, match=rf"{name} \(--{name}\).*no TLS.*Leave `insecure` out"):
        load(None, {}, {name: place, "insecure": True})
    assert getattr(load(None, {}, {name: place}), name) == place


@pytest.mark.parametrize("place", ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", ":80", "a b:1", "::1:80"])
def test_what_is_no_address_is_refused(place: str) -> None:
    """Host and port, or nothing."""
    with pytest.raises(BadSetting, match="write host:port"):
        load(None, {}, {"http": place})


@given(st.ip_addresses().map(str))
def test_only_loopback_addresses_pass(host: str) -> None:
    """For any address of either family: let through if and only if it is loopback."""
    local = ipaddress.ip_address(host) in ipaddress.ip_network("::1/128" if ":" in host else "127.0.0.0/8")
    try:
        require_loopback(host, "http")
    except BadSetting:
        assert not local
    else:
        assert local


@pytest.mark.parametrize(
    ("broker", "insecure"),
    [
        ("mqtt://10.0.0.1:1883", True),
        ("mqtts://127.0.0.1:1", True),
        ("mqtt://127.0.0.1:1", False),
        ("127.0.0.1:1883", True),
        ("127.0.0.1:8883", False),
        ("mqtt://", True),
        ("mqtts://control.example:x", False),
        ("none", False),
    ],
)
def test_a_broker_that_does_not_fit_is_refused(broker: str, insecure: bool) -> None:
    """With TLS it may be anywhere, without it must be here; what is no address is none."""
    with pytest.raises(BadSetting, match="broker"):
        load(None, {}, {"broker": broker, "insecure": insecure})
    assert load(None, {}, {"broker": "mqtts://control.example"}).broker == "mqtts://control.example"


@pytest.mark.parametrize(
    "broker",
    [
        "mqtt://me:secret@127.0.0.1:99999",
        "mqtts://me:secret@localhost:1",
        "me:secret@localhost",
        "mqtt://me:secret@10.0.0.1",
    ],
)
def test_a_password_is_never_repeated(broker: str) -> None:
    """What is said about a broker's address leaves user and password out: it goes to a log."""
    with pytest.raises(BadSetting) as refusal:
        load(None, {}, {"broker": broker, "insecure": True})
    assert "secret" not in f"{refusal.value!r} {refusal.value.__cause__!r}"


def test_a_broker_of_ones_own_may_have_a_user() -> None:
    """The address splits into what a connection needs."""
    assert broker_address("mqtt://me:secret@localhost") == ("localhost", 1883, "me", "secret")
    assert load(None, {}, {"broker": "mqtt://[::1]:1884", "insecure": True}).broker == "mqtt://[::1]:1884"


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("postgresql://me@127.0.0.1/headwater", True),
        ("postgresql:///headwater?host=/run/postgresql", True),
        ("postgresql://me@db.example/headwater?ssl=verify-full", True),
        ("postgresql://me@db.example/headwater", False),
        ("postgresql://me@db.example/headwater?ssl=require", False),
        ("postgresql:///headwater?host=10.1.2.3", False),
        ("postgresql://me@127.0.0.1/headwater?host=127.0.0.1:5432,db.example:5432", False),
        ("postgresql:///headwater?host=::1", True),
        ("mysql://127.0.0.1/headwater", False),
    ],
)
def test_a_database_elsewhere_needs_verified_tls(url: str, accepted: bool) -> None:
    """A socket, loopback or verify-full: nothing else."""
    if accepted:
        assert load(None, {}, {"database": url}).database_url == url
    else:
        with pytest.raises(BadSetting, match="database"):
            load(None, {}, {"database": url})


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"mosquitto_dir": "/etc/x"}, "belong together"),
        ({"mosquitto_reload": "systemctl reload mosquitto"}, "belong together"),
        ({"mosquitto_dir": "/etc/x", "mosquitto_reload": " "}, "belong together"),
        ({"mosquitto_dir": "/etc/x", "mosquitto_reload": "it's"}, 'mosquitto_reload is "it\'s", which is no command'),
        ({"mosquitto_dir": "/etc/x", "mosquitto_reload": "true", "broker": "embedded"}, "mqtts://"),
    ],
)
def test_a_mosquitto_that_could_not_be_told_who_is_shut_out_is_refused(flags: dict[str, str], sentence: str) -> None:
    """Its folder and the command go together, and with a broker that has TLS."""
    with pytest.raises(BadSetting, match=sentence):
        load(None, {}, {"broker": "mqtts://control.example", **flags})


STEP = {"ca_url": "https://ca", "ca_provisioner": "headwater", "ca_provisioner_key": "key.json"}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"ca_chain": "chain.pem"}, "ca_chain and ca_key belong together"),
        ({"ca_key": "ca.key"}, "ca_chain and ca_key belong together"),
        (STEP, "all four"),
        ({"ca_chain": "chain.pem", "ca_url": "https://ca"}, "all four"),
        ({"ca_chain": "chain.pem", "ca_key": "ca.key", **STEP}, "two ways"),
    ],
)
def test_half_of_an_authority_is_refused(flags: dict[str, str], sentence: str) -> None:
    """A chain with its key, or a chain with a step-ca and what that asks for."""
    with pytest.raises(BadSetting, match=sentence):
        load(None, {}, flags)


def test_a_step_ca_is_a_chain_an_address_and_a_provisioner() -> None:
    """All four."""
    assert load(None, {}, {"ca_chain": "chain.pem", **STEP}).ca_url == "https://ca"


def test_the_reload_command_is_split_as_a_shell_would() -> None:
    """No shell runs it."""
    flags = {"broker": "mqtts://localhost", "mosquitto_dir": "/etc/x", "mosquitto_reload": "ssh 'a b' reload"}
    assert load(None, {}, flags).reload_command == ("ssh", "a b", "reload")


def test_an_unknown_log_level_is_refused() -> None:
    """The message says which there are."""
    with pytest.raises(BadSetting, match="debug, info, warning, error"):
        load(None, {"HEADWATER_LOG_LEVEL": "loud"}, {})
