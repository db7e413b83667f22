"""mosquitto's own certificate, as time passes."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from headwater_control.edges.ca import embedded
from headwater_control.edges.mosquitto import NotReloaded, Renewal

from tests.fakes.clock import FakeClock

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
NAMES = ["broker.example", "192.0.2.7"]


class Broker:
    """A folder with a certificate, and a command that notes that it ran, or fails."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "broker.pem"
        self.reloaded = folder / "reloaded"
        self.broken = folder / "broken"
        self._authority = embedded(folder / "ca", NOW)
        self.file.write_bytes(self._issue(NAMES, NOW))
        command = ("sh", "-c", 'test ! -e "$0" && touch "$1"', str(self.broken), str(self.reloaded))
        self.renewal = Renewal(folder, self._issue, command, FakeClock(NOW))

    @property
    def leaf(self) -> x509.Certificate:
        """Read the certificate."""
        return x509.load_pem_x509_certificates(self.file.read_bytes())[0]

    def _issue(self, names: object, now: datetime) -> bytes:
        assert isinstance(names, list)
        leaf = self._authority.server(names, now)
        return leaf.key + leaf.chain


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    """One whose certificate is new."""
    return Broker(tmp_path)


async def test_in_its_first_half_it_is_left_alone(broker: Broker) -> None:
    """And mosquitto is not troubled."""
    before = broker.leaf
    assert not await broker.renewal.renew_if_due(NOW + timedelta(days=40))
    assert broker.leaf == before
    assert not broker.reloaded.exists()


@pytest.mark.parametrize("days", [45, 200], ids=["at half its life", "when it has ended"])
async def test_then_it_is_issued_anew_for_the_same_names(broker: Broker, days: int) -> None:
    """With the permissions it had, and mosquitto is told."""
    broker.file.chmod(0o640)
    assert await broker.renewal.renew_if_due(NOW + timedelta(days=days))
    assert broker.leaf.not_valid_after_utc == NOW + timedelta(days=days + 90)
    names = broker.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    assert stat.S_IMODE(broker.file.stat().st_mode) == 0o640
    assert broker.reloaded.exists()


async def test_mosquitto_is_told_again_if_that_failed(broker: Broker) -> None:
    """The new certificate on disk helps nobody while mosquitto shows the old one."""
    broker.broken.touch()
    with pytest.raises(NotReloaded):
        await broker.renewal.renew_if_due(NOW + timedelta(days=60))
    broker.broken.unlink()
    assert not await broker.renewal.renew_if_due(NOW + timedelta(days=60))
    assert broker.reloaded.exists()
