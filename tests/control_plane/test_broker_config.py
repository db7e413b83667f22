"""`headwater broker-config`: what it writes, and what it says to do next."""

import ssl
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from headwater.demo.processes import Process
from headwater_control.broker_config import Wanted, run
from headwater_control.edges.ca import embedded

PLUGIN = "/usr/lib/mosquitto_dynamic_security.so"


def configure(folder: Path, **wanted: object) -> int:
    """Run it for a control plane whose data is in `folder`."""
    return run(None, {"data_dir": str(folder / "data")}, asked(folder, **wanted))


def asked(folder: Path, **wanted: object) -> Wanted:
    """Say what is wanted."""
    said = {"to": folder / "mosquitto", "listen": "0.0.0.0:8883", "plugin": PLUGIN, **wanted}
    return Wanted(**said)  # type: ignore[arg-type]


def test_the_certificate_is_for_the_names_and_by_the_control_plane_s_authority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And its end is told."""
    assert configure(tmp_path, names=("broker.example", "192.0.2.7")) == 0
    (leaf, *_) = x509.load_pem_x509_certificates((tmp_path / "mosquitto" / "broker.pem").read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "broker.example" in names.get_values_for_type(x509.DNSName)
    assert "192.0.2.7" in map(str, names.get_values_for_type(x509.IPAddress))
    authority = embedded(tmp_path / "data" / "ca", datetime.now(UTC))
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.client_anchors))
    said = capsys.readouterr().out
    assert f"ends on {leaf.not_valid_after_utc:%Y-%m-%d}" in said
    assert 'broker = "mqtts://broker.example:8883"' in said
    assert f'mosquitto_dir = "{tmp_path / "mosquitto"}"' in said


def test_key_and_chain_fit_together(tmp_path: Path) -> None:
    """They are one file, so that a crash can't part them; OpenSSL takes it for both."""
    assert configure(tmp_path) == 0
    file = tmp_path / "mosquitto" / "broker.pem"
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_only_with_headwater_s_own_authority(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said here already, not only when the control plane starts with it."""
    assert run(None, {"ca_chain": "chain.pem", "ca_key": "ca.key"}, asked(tmp_path)) == 2
    assert "with mosquitto leave ca_chain" in capsys.readouterr().err
    assert not (tmp_path / "mosquitto").exists()


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"listen": "8883"}, "--listen is '8883', which is no address"),
        ({"group": "no-such-group"}, "there is no group 'no-such-group'"),
        ({"to": Path("/proc/nowhere")}, "can't write /proc/nowhere"),
    ],
)
def test_what_can_t_be_done_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wanted: dict[str, object], sentence: str
) -> None:
    """On stderr, and the exit code is 2."""
    assert configure(tmp_path, **wanted) == 2
    said = capsys.readouterr().err
    assert said.startswith("headwater broker-config: ")
    assert sentence in said
    assert said.count("\n") == 1


def test_without_tls_there_is_nothing_to_configure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody would have a certificate."""
    flags = {"data_dir": str(tmp_path), "insecure": True}
    assert run(None, flags, Wanted(tmp_path / "mosquitto", "127.0.0.1:8883", plugin=PLUGIN)) == 2
    assert "insecure" in capsys.readouterr().err


def test_it_is_a_command(tmp_path: Path) -> None:
    """With the settings of `headwater serve`."""
    arguments = ["broker-config", "--to", str(tmp_path / "m"), "--listen", "127.0.0.1:1", "--plugin", PLUGIN]
    command = [sys.executable, "-m", "headwater.cli", *arguments]
    with Process("broker-config", command, tmp_path / "log", {"HEADWATER_DATA_DIR": str(tmp_path / "data")}) as process:
        assert process.wait(20) == 0
    assert "listener 1 127.0.0.1" in (tmp_path / "m" / "mosquitto.conf").read_text()
