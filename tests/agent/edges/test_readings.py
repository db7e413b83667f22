"""What is read of a box, from made-up /proc and /sys trees."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from headwater_agent.core.conditions import Readings, Standing, Wanted, advance
from headwater_agent.core.hours import Moment
from headwater_agent.edges.readings import Reader

NIGHT = datetime(2026, 3, 29, 0, 59, tzinfo=UTC).timestamp()
ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"
STAT = "cpu  {user} {nice} {system} {idle} {iowait} 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"


def tree(root: Path, **files: str) -> Path:
    """Write files by their path, with __ for /, and ~ for what a keyword can't hold."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("~", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def reader(root: Path, **more: object) -> Reader:
    """Read below a made-up root."""
    return Reader(root, root=root, now_s=lambda: NIGHT, zone=ZoneInfo("Europe/Berlin"), **more)  # type: ignore[arg-type]


def power(root: Path) -> tuple[bool | None, float | None]:
    """Read its supplies."""
    found = reader(root).read()
    return found.on_mains, found.battery


def test_an_empty_box_tells_nothing_and_does_no_harm(tmp_path: Path) -> None:
    """All is unknown but the disk and the time."""
    found = reader(tmp_path).read()
    assert found == Readings(free_bytes=found.free_bytes, moment=Moment(6, 119)) and found.free_bytes
    assert Reader(tmp_path / "gone", root=tmp_path, now_s=lambda: 1000.0).read() == Readings()


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({"AC__type": "Mains", "AC__online": "1", "BAT__type": "Battery", "BAT__capacity": "12"}, (True, 12.0)),
        (
            {
                "AC__type": "Mains",
                "AC__online": "0",
                "B__type": "Battery",
                "B__capacity": "80",
                "B__status": "Discharging",
            },
            (False, 80.0),
        ),
        ({"B__type": "Battery", "B__status": "Full"}, (True, None)),
        ({"M__type": "Battery", "M__scope": "Device", "M__status": "Discharging", "M__capacity": "3"}, (True, None)),
        ({"U__type": "UPS", "U__capacity": "n/a", "U__status": "Discharging"}, (False, None)),
        ({"AC__type": "Mains", "AC__online": "0"}, (True, None)),
        ({"AC__type": "Mains", "AC__online": "0", "B__type": "Battery", "B__status": "Unknown"}, (False, None)),
        ({"AC__type": "Mains", "AC__online": "0", "B__type": "Battery", "B__capacity": "5"}, (False, 5.0)),
        ({"U__type": "USB", "U__online": "2", "B__type": "Battery", "B__status": "Discharging"}, (True, None)),
        ({"P__type": "USB", "P__scope": "Device", "P__online": "1", "B__type": "Battery"}, (None, None)),
        ({"M__type": "Battery", "M__scope": "Device", "M__online": "1", "B__type": "Battery"}, (None, None)),
        ({"B__type": "Battery", "B__status": "Unknown", "B__capacity": "7"}, (None, 7.0)),
        ({"B__type": "Battery", "B__status": "Not charging"}, (True, None)),
    ],
)
def test_power_is_mains_or_a_battery_s(
    tmp_path: Path, supplies: dict[str, str], expected: tuple[bool | None, float | None]
) -> None:
    """A mouse's battery is not the box's; without a battery there is mains. Supplies know better than batteries."""
    tree(tmp_path, **{f"sys__class__power_supply__{name}": text for name, text in supplies.items()})
    assert power(tmp_path) == expected


def test_the_hottest_plausible_zone_counts(tmp_path: Path) -> None:
    """In thousandths of a degree; a driver without a sensor is left out."""
    zones = {"0": "45500", "1": "61200", "2": "-274000", "3": "200000", "4": "none"}
    tree(tmp_path, **{f"sys__class__thermal__thermal_zone{n}__temp": text for n, text in zones.items()})
    assert reader(tmp_path).read().celsius == 61.2


def test_pressure_is_that_of_the_last_minute(tmp_path: Path) -> None:
    """The share in which some process waited."""
    lines = "some avg10=9.00 avg60=3.25 avg300=1.00 total=5\nfull avg10=0.00 avg60=1.00 avg300=0.00 total=1"
    tree(tmp_path, proc__pressure__memory=lines, proc__pressure__cpu="nonsense")
    found = reader(tmp_path).read()
    assert (found.memory_pressure, found.cpu_pressure) == (3.25, None)


def test_processors_are_busy_by_what_is_not_niced(tmp_path: Path) -> None:
    """Between two readings: our own training, with a nice above 0, counts as idle."""
    tree(tmp_path, proc__stat=STAT.format(user=100, nice=0, system=50, idle=850, iowait=0))
    watching = reader(tmp_path)
    assert watching.read().cpu_busy is None, "no time has passed"
    tree(tmp_path, proc__stat=STAT.format(user=100 + 4, nice=0, system=50, idle=850, iowait=0))
    assert watching.read().cpu_busy is None, "too little to tell"
    many = os.cpu_count() or 1
    spent = {"user": 20 * many, "nice": 100 * many, "system": 10 * many, "idle": 50 * many, "iowait": 20 * many}
    before = {"user": 100, "nice": 0, "system": 50, "idle": 850, "iowait": 0}
    tree(tmp_path, proc__stat=STAT.format(**{name: before[name] + spent[name] for name in before}))
    assert watching.read().cpu_busy == 15.0
    spent["user"] += 3
    tree(tmp_path, proc__stat=STAT.format(**{name: before[name] + spent[name] for name in before}))
    assert watching.read().cpu_busy == 15.0, "the last figure stays until another second has gone by"
    tree(tmp_path, proc__stat="cpu of another kernel")
    assert watching.read().cpu_busy is None


@pytest.mark.parametrize(
    ("place", "told"),
    [("sys__class__drm__card1__device__gpu_busy_percent", "37"), ("sys__devices__gpu.0__load", "370")],
)
def test_a_gpu_is_busy_as_its_driver_says(tmp_path: Path, place: str, told: str) -> None:
    """In percent, or a Jetson's thousandths."""
    assert reader(tree(tmp_path, **{place: told})).read().gpu_busy == 37.0


def test_a_modem_is_metered_and_the_owner_knows_better(tmp_path: Path) -> None:
    """Of a cable nobody knows."""
    route = f"{ROUTES}\neth0 0000A8C0 00000000 1 0 0 100 00FFFFFF\n{{}} 00000000 0100A8C0 3 0 0 100 00000000"
    tree(tmp_path, proc__net__route=route.format("eth0"), sys__class__net__eth0__uevent="INTERFACE=eth0")
    assert reader(tmp_path).read().metered is None
    assert reader(tmp_path, metered=True).read().metered is True
    tree(tmp_path, proc__net__route=route.format("usb0"), sys__class__net__usb0__uevent="DEVTYPE=wwan\nINTERFACE=usb0")
    assert reader(tmp_path).read().metered is True
    assert reader(tmp_path, metered=False).read().metered is False


@pytest.mark.parametrize(("modem", "cable", "metered"), [(700, 100, None), (50, 100, True)])
def test_the_default_route_in_use_decides(tmp_path: Path, modem: int, cable: int, metered: bool | None) -> None:
    """That of the lowest metric: a modem beside a cable is a spare. A tunnel's half of all addresses is no default."""
    routes = [
        ROUTES,
        f"wwan0 00000000 0100A8C0 0003 0 0 {modem} 00000000 0 0 0",
        "ppp0 00000000 0100A8C0 0003 0 0 0 00000080 0 0 0",
        f"eth0 00000000 0100A8C0 0003 0 0 {cable} 00000000 0 0 0",
    ]
    tree(tmp_path, proc__net__route="\n".join(routes))
    assert reader(tmp_path).read().metered is metered


ROUTE6 = "{net} {bits} {none} 00 fe800000000000000000000000000001 {metric:08x} 1 0 {flags:08x} {interface}"
NOBODY6 = ROUTE6.format(net="0" * 32, bits="00", none="0" * 32, metric=2**32 - 1, flags=0x200200, interface="lo")


def route6(interface: str, metric: int, *, net: str = "0" * 32, bits: str = "00", flags: int = 3) -> str:
    """Write a line of /proc/net/ipv6_route."""
    return ROUTE6.format(net=net, bits=bits, none="0" * 32, metric=metric, flags=flags, interface=interface)


@pytest.mark.parametrize(
    ("routes", "metered"),
    [
        ([route6("wwan0", 1024), NOBODY6], True),
        ([route6("wwan0", 2000), route6("eth0", 1024)], None),
        ([route6("wwan0", 1024, net="2000" + "0" * 28, bits="03")], None),
        ([route6("wwan0", 1024, flags=0x203)], None),
        ([NOBODY6, "nonsense", route6("wwan0", 1024).replace("00000400", "0000none")], None),
    ],
    ids=["a modem", "a spare", "no default", "it rejects", "nobody"],
)
def test_a_default_route_of_ipv6_counts_too(tmp_path: Path, routes: list[str], metered: bool | None) -> None:
    """A modem's network may have nothing else; where a cable has IPv4 only, the rest goes over the modem."""
    tree(tmp_path, proc__net__ipv6_route="\n".join(routes))
    assert reader(tmp_path).read().metered is metered
    tree(tmp_path, proc__net__route=f"{ROUTES}\neth0 00000000 0100A8C0 3 0 0 100 00000000")
    assert reader(tmp_path).read().metered is metered


def test_the_time_is_that_of_the_wall(tmp_path: Path) -> None:
    """A minute later it is three o'clock in Berlin; without a zone it is the box's own time."""
    spring = Reader(tmp_path, zone=ZoneInfo("Europe/Berlin"), root=tmp_path, now_s=lambda: NIGHT + 60)
    assert str(spring.read().moment) == "Sun 03:00"
    assert Reader(tmp_path, root=tmp_path, now_s=lambda: NIGHT).read().moment is not None


def test_the_zone_of_a_box_may_be_set_while_its_agent_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was provisioned in UTC keeps to its own hours from the next look on."""
    box = Reader(tmp_path, root=tmp_path, now_s=lambda: NIGHT)
    told = []
    for zone in ("Europe/Berlin", "America/New_York"):
        with monkeypatch.context() as here:
            here.setenv("TZ", zone)
            told.append(str(box.read().moment))
    time.tzset()
    assert told == ["Sun 01:59", "Sat 20:59"]


def test_this_machine_can_be_read() -> None:
    """Whatever it is: nothing is raised, and something follows."""
    assert advance(Standing(), Wanted(), Reader(Path("/")).read(), 0.0).conditions
