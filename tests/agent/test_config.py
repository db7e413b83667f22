"""The agent's configuration: what it takes, and how it names what is wrong."""

from pathlib import Path

import pytest
from headwater_agent.__main__ import main
from headwater_agent.config import Address, load
from headwater_agent.settings import BadSetting
from headwater_agent.training.protocol import ColumnConfig, DatasetConfig

FULL = """\
[agent]
id = "gate-7"
state_dir = "state"

[agent.labels]
site = "hamburg"

[control_plane]
broker = "mqtts://localhost:18830"
gateway = "[::1]:9000"

[training]
engine = "constant"
worker_idle_s = 5
nice = 0
max_attempts = 2

[datasets.digits]
format = "npz"
path = "../data/digits.npz"

[datasets.digits.columns.image]
source = "images"
shape = [1, 8, 8]
scale = 0.0625
std = 2

[datasets.digits.columns.label]
source = ["labels"]
dtype = "int64"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration in which everything is said."""
    path = tmp_path / "etc" / "agent.toml"
    path.parent.mkdir()
    path.write_text(FULL)
    return path


def test_everything_said_is_taken(file: Path) -> None:
    """Relative paths start at the file's folder; numbers become what they are declared as."""
    config = load(file, {})
    assert (config.agent.id, config.agent.state_dir) == ("gate-7", file.parent / "state")
    assert config.agent.labels == (("site", "hamburg"),)
    assert config.control_plane.broker == Address("localhost", 18830)
    assert config.control_plane.gateway == Address("::1", 9000)
    assert (config.training.engine, config.training.worker_idle_s, config.training.max_attempts) == ("constant", 5.0, 2)
    image = ColumnConfig("image", ("images",), "float32", (1, 8, 8), 0.0625, 0.0, 2.0)
    label = ColumnConfig("label", ("labels",), "int64")
    path = str(file.parent.parent / "data" / "digits.npz")
    assert config.datasets == (DatasetConfig("digits", "npz", path, (image, label)),)


def test_nothing_said_means_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file is a box of that host's name, with no data; where its control plane is, enrolment says."""
    monkeypatch.setattr("socket.gethostname", lambda: "box-9")
    (tmp_path / "agent.toml").write_text("")
    config = load(tmp_path / "agent.toml", {})
    assert config.agent.id == "box-9"
    assert (config.control_plane.broker, config.control_plane.insecure) == (None, False)
    assert not config.agent.named
    assert (config.training.engine, config.training.worker_idle_s) == ("portable", 300.0)
    assert config.training.confinement == "preferred"


def test_a_host_name_that_is_no_id_must_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that is missing is named, and the file."""
    monkeypatch.setattr("socket.gethostname", lambda: "büro pc")
    (tmp_path / "agent.toml").write_text("# mine\n[agent]\n")
    with pytest.raises(BadSetting, match=r"agent\.toml:2: agent\.id is missing"):
        load(tmp_path / "agent.toml", {})


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("nice = 0", "nicer = 0", 15, r"training\.nicer is not known; known here: checkpoint_every_s"),
        ("[training]", "[treining]", 12, "treining is not known"),
        ("scale = 0.0625", "scael = 1", 25, r"datasets\.digits\.columns\.image\.scael is not known"),
        ('id = "gate-7"', 'id = "gate 7"', 2, "agent.id: device 'gate 7' is not a name"),
        ('id = "gate-7"', "id = 7", 2, "agent.id must be a string, not 7"),
        ('site = "hamburg"', 'site = "am hafen"', 6, "label value 'am hafen' is not a name"),
        ('engine = "constant"', 'engine = "torch"', 13, "is 'torch'; choose one of portable, native, constant"),
        ("nice = 0", 'confinement = "none"', 15, "is 'none'; choose one of required, preferred, off"),
        ("max_attempts = 2", "max_attempts = 0", 16, "must be a whole number from 1 to 100, not 0"),
        ("nice = 0", "nice = true", 15, "must be a whole number"),
        ("worker_idle_s = 5", "worker_idle_s = nan", 14, "must be a number from 0 to 86400"),
        ("std = 2", "std = 0", 26, "must be a number above 0, not 0"),
        ("shape = [1, 8, 8]", "shape = [1, -8]", 24, "list of positive integers"),
        ('format = "npz"', 'format = "xlsx"', 19, "choose one of npz, csv, idx"),
        ('format = "npz"\n', "", 18, r"datasets\.digits\.format is missing"),
        ('source = "images"', "", 22, r"columns\.image\.source is missing"),
        ("[datasets.digits]", '[datasets."my digits"]', 18, "dataset 'my digits' is not a name"),
        ("localhost:18830", "localhost:x", 9, "control_plane.broker"),
        ("mqtts://", "mqtt://", 9, "is no address such as mqtts://"),
        ('"[::1]:9000"', '"control.example:x"', 10, "control_plane.gateway"),
        ('gateway = "[::1]:9000"', "insecure = 1", 10, "must be true or false"),
    ],
)
def test_a_mistake_is_named_with_its_line(file: Path, old: str, new: str, line: int, words: str) -> None:
    """The file, the line, the key and what to do: nobody has to search."""
    assert old in FULL
    file.write_text(FULL.replace(old, new, 1))
    with pytest.raises(BadSetting, match=rf"agent\.toml:{line}: .*{words}"):
        load(file, {})


@pytest.mark.parametrize("key", ["broker", "gateway"])
def test_without_tls_there_is_no_other_machine(tmp_path: Path, key: str) -> None:
    """Insecure is for loopback, its default; an address elsewhere is refused with the reason and the way out."""
    path = tmp_path / "agent.toml"
    path.write_text("[control_plane]\ninsecure = true\n")
    told = load(path, {}).control_plane
    assert (told.broker, told.gateway) == (Address("127.0.0.1", 1883), Address("127.0.0.1", 8090))
    place = {"broker": "mqtt://10.0.0.5:1883", "gateway": "control.example:9000"}[key]
    path.write_text(f'[control_plane]\ninsecure = true\n{key} = "{place}"\n')
    with pytest.raises(BadSetting, match=rf"agent\.toml:3: .*{key}.* is another machine.*enrol this box"):
        load(path, {})


def test_lines_are_found_in_odd_spellings(tmp_path: Path) -> None:
    """Dotted and quoted keys, comments, strings of many lines and inline tables."""
    path = tmp_path / "agent.toml"
    path.write_text('agent.id = "a"\nagent.state_dir = """\n[training]\nnice = 4\n"""\n[training]\n"nice" = 99\n')
    with pytest.raises(BadSetting, match=r"agent\.toml:7: training\.nice"):
        load(path, {})
    path.write_text('[agent]\nid = "a"\nlabels = { site = "x y" }\n')
    with pytest.raises(BadSetting, match=r"agent\.toml:3: agent\.labels\.site"):
        load(path, {})


def test_a_variable_overrides_the_file(file: Path) -> None:
    """Names of datasets keep the file's spelling; numbers may be written as such."""
    environment = {
        "HEADWATER_AGENT__ID": "77",
        "HEADWATER_TRAINING__NICE": "7",
        "HEADWATER_DATASETS__DIGITS__PATH": "/elsewhere.npz",
        "HEADWATER_DATASETS__DIGITS__COLUMNS__IMAGE__SHAPE": "[64]",
        "HEADWATER_CRASH_AT": "nowhere",
        "HEADWATER_HTTP": "the control plane's own",
    }
    config = load(file, environment)
    assert (config.agent.id, config.training.nice) == ("77", 7)
    assert config.datasets[0].path == "/elsewhere.npz"
    assert config.datasets[0].columns[0].shape == (64,)


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        (
            "HEADWATER_TRAINING__NICER",
            r"the environment variable HEADWATER_TRAINING__NICER: training\.nicer is not known",
        ),
        ("HEADWATER_TREINING__NICE", "HEADWATER_TREINING__NICE: treining is not known"),
        ("HEADWATER_TRAINING__NICE", "HEADWATER_TRAINING__NICE: training.nice must be a whole number"),
        ("HEADWATER_AGENT__ID__X", "HEADWATER_AGENT__ID__X: .* id has no parts"),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(file: Path, variable: str, words: str) -> None:
    """Not the file, which is innocent."""
    with pytest.raises(BadSetting, match=words):
        load(file, {variable: "x"})


@pytest.mark.parametrize(
    ("text", "words"), [(None, "can't be read"), ("[agent\n", "is no TOML"), ("\xff", "is no TOML")]
)
def test_an_unreadable_file_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    """Missing, or not TOML."""
    path = tmp_path / "agent.toml"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadSetting, match=rf"agent\.toml.* {words}"):
        load(path, {})


def test_config_show_tells_where_each_value_came_from(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of the file, a variable, or the default."""
    monkeypatch.setenv("HEADWATER_TRAINING__NICE", "7")
    main(["config", "show", "--origin", "--config", str(file)])
    lines = capsys.readouterr().out.splitlines()
    assert f'agent.id = "gate-7"  # {file}:2' in lines
    assert 'training.nice = "7"  # the environment variable HEADWATER_TRAINING__NICE' in lines
    assert "datasets.digits.columns.label.mean = 0.0  # default" in lines


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks can begin at once."""
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert "[datasets.digits.columns.label]" in told and "headwater-agent run --config" in told
