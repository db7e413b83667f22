"""The owner's policy in the configuration: what it takes, how it names a mistake, how it is shown."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.__main__ import main
from headwater_agent.config import load
from headwater_agent.core.policy import Floor, Limits, Policy
from headwater_agent.settings import BadSetting

DATA = """\
[agent]
id = "gate-7"
[datasets.digits]
format = "npz"
path = "digits.npz"
columns = { label = { source = "label", dtype = "int64" } }
[datasets.faces]
format = "npz"
path = "digits.npz"
columns = { label = { source = "label", dtype = "int64" } }
"""
FULL = (
    DATA
    + """\
[policy]
allow_datasets = ["digits", "faces"]
models = ["digits", "m-2"]
max_epochs = 3
max_batch_size = 64
max_minutes = 90
max_mb_up = 1.5
memory_mb = 900
mb_up_a_day = 20
min_examples = 50
clip_norm = 2
noise_multiplier = 0.5
report_metrics = false
[policy.labels]
purpose = ["quality", "safety"]
site = "north"

[policy.datasets.faces]
models = "all"
labels = { purpose = "research" }
max_epochs = 1
report_metrics = true
"""
)
GENERAL = Limits(
    models=("digits", "m-2"),
    labels=(("purpose", ("quality", "safety")), ("site", ("north",))),
    max_epochs=3,
    max_batch_size=64,
    max_minutes=90.0,
    max_mb_up=1.5,
    floor=Floor(50, 2.0, 0.5, report_metrics=False),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with all of a policy, beside its data."""
    np.savez(tmp_path / "digits.npz", label=np.arange(3))
    path = tmp_path / "agent.toml"
    path.write_text(FULL)
    return path


def test_all_of_a_policy_is_taken(file: Path) -> None:
    """What a dataset says itself stands instead of the general word; the rest of it holds there too."""
    faces = replace(
        GENERAL,
        models=None,
        labels=(("purpose", ("research",)),),
        max_epochs=1,
        floor=Floor(50, 2.0, 0.5, report_metrics=True),
    )
    assert load(file, {}).policy == Policy(("digits", "faces"), 900, 20.0, GENERAL, (("faces", faces),))


def test_the_example_sets_no_limit(tmp_path: Path) -> None:
    """Each of its settings is the default; and what it shows in comments is taken as well."""
    example = (Path(__file__).parents[2] / "deploy" / "agent.example.toml").read_text()
    example = '[agent]\nid = "gate-7"\n' + example[example.index("[policy]") :]
    path = tmp_path / "agent.toml"
    path.write_text(example)
    assert load(path, {}).policy == Policy()
    path.write_text(re.sub(r"^# (?=[a-z\[])", "", example, flags=re.MULTILINE))
    limits = load(path, {}).policy.limits("digits")
    assert (limits.models, limits.floor.min_examples) == (("digits",), 100)
    assert limits.labels == (("purpose", ("quality", "safety")),)


def test_without_a_policy_nothing_is_refused(file: Path) -> None:
    """All declared datasets, any model, no limit: the data stays here all the same."""
    file.write_text(DATA)
    assert load(file, {}).policy == Policy()


def test_a_list_of_none_allows_none(file: Path) -> None:
    """Which is another word than no list."""
    file.write_text(DATA + "[policy]\nallow_datasets = []\nmodels = []\n")
    assert load(file, {}).policy == Policy(allow_datasets=(), general=Limits(models=()))


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (
            "max_epochs = 3",
            "max_epoch = 3",
            14,
            r"policy\.max_epoch is not known; known here: allow_datasets, clip_norm",
        ),
        ("max_epochs = 1", "memory_mb = 1", 31, r"policy\.datasets\.faces\.memory_mb is not known"),
        ("max_epochs = 3", "max_epochs = -1", 14, "must be a whole number from 0"),
        ("max_epochs = 3", "max_epochs = 1.5", 14, "must be a whole number from 0"),
        ("max_minutes = 90", 'max_minutes = "90"', 16, "must be a number from 0"),
        ("clip_norm = 2", "clip_norm = inf", 21, "must be a number from 0"),
        ("clip_norm = 2\n", "", 21, r"policy\.noise_multiplier: noise is a multiple of clip_norm: set clip_norm too"),
        ("max_epochs = 1", "clip_norm = 0", 28, r"policy\.datasets\.faces\.noise_multiplier: noise is a multiple"),
        ("report_metrics = false", "report_metrics = 0", 23, "must be true or false, not 0"),
        ('"digits", "faces"]', '"digits", "face"]', 12, r"allow_datasets: no dataset 'face' is declared \(there is"),
        (
            "[policy.datasets.faces]",
            "[policy.datasets.face]",
            28,
            r"no dataset 'face' is declared \(there is: digits, faces",
        ),
        ('"digits", "m-2"', '"digits", "m 2"', 13, r"policy\.models: model 'm 2' is not a name"),
        ('["digits", "m-2"]', '"digits"', 13, "must be a list of strings, or \"all\", not 'digits'"),
        ('["digits", "m-2"]', "[7]", 13, r'must be a list of strings, or "all", not \[7\]'),
        ('site = "north"', 'site = "no rth"', 26, r"policy\.labels\.site: label value 'no rth' is not a name"),
        ('site = "north"', "site = []", 26, "must be a string or a list of strings"),
        ('site = "north"', '"si te" = "north"', 26, "label 'si te' is not a name"),
    ],
)
def test_a_mistake_is_named_with_its_line(file: Path, old: str, new: str, line: int, words: str) -> None:
    """A policy with a typo would be none: the agent does not start."""
    assert old in FULL
    file.write_text(FULL.replace(old, new, 1))
    with pytest.raises(BadSetting, match=rf"agent\.toml:{line}: .*{words}"):
        load(file, {})


def test_a_variable_overrides_the_file(file: Path) -> None:
    """Lists and truths as JSON."""
    policy = load(
        file,
        {
            "HEADWATER_POLICY__MODELS": '["x"]',
            "HEADWATER_POLICY__REPORT_METRICS": "true",
            "HEADWATER_POLICY__DATASETS__FACES__MAX_EPOCHS": "7",
            "HEADWATER_POLICY__ALLOW_DATASETS": "all",
        },
    ).policy
    assert (policy.general.models, policy.general.floor.report_metrics) == (("x",), True)
    assert (policy.limits("faces").max_epochs, policy.allow_datasets) == (7, None)


def test_config_show_tells_where_each_limit_came_from(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dataset shows what it takes over from [policy]."""
    main(["config", "show", "--origin", "--config", str(file)])
    lines = capsys.readouterr().out.splitlines()
    assert f'policy.models = ["digits", "m-2"]  # {file}:13' in lines
    assert f"policy.datasets.faces.max_epochs = 1  # {file}:31" in lines
    assert "policy.datasets.faces.clip_norm = 2.0  # [policy]" in lines


def test_check_config_says_what_tasks_may_do(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each dataset, and for the box."""
    file.write_text(FULL.replace('allow_datasets = ["digits", "faces"]', 'allow_datasets = ["faces"]'))
    main(["check-config", "--config", str(file)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("policy")]
    assert lines == [
        "policy for digits: no task may use it",
        "policy for faces: only runs labelled purpose=research; at most 1 epochs; at most 64 examples a batch; "
        "at most 90 minutes; at most 1.5 MB up; from at least 50 examples; "
        "clipped to the norm 2, noise of 0.5 times that",
        "policy for the box: of these models, versions may be installed: digits, m-2",
        "policy for the box: at most 20 MB up a day",
        "policy for the box: at most 900 MB of memory for training",
    ]
