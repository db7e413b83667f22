"""An agent's journal: whatever its records or its file have become, what makes sense is kept and the rest is named."""

import json
import random
from pathlib import Path

from headwater_agent.core.session import (
    Box,
    Denied,
    Finished,
    Held,
    Install,
    InstallState,
    Sent,
    ServerTime,
    Session,
    Stage,
)
from headwater_agent.edges import ledger, records
from headwater_agent.ports import Survey
from headwater_wire.ids import DeviceId, Digest, ModelName, RolloutId, RunId, TaskId, VersionId
from headwater_wire.messages import (
    Blob,
    Column,
    DatasetCard,
    Deployment,
    DeploymentReport,
    Evaluated,
    Failed,
    Metrics,
    Plan,
    Rejected,
    Task,
    TaskReport,
)

from tests.fuzzing.damage import damaged
from tests.fuzzing.trees import twisted

_BOX = Box(DeviceId("box-1"))
_BLOB = Blob(Digest("0" * 64), 3)
_METRICS = Metrics(10, 0.5, 4, 0.7, 3.0, 1.0)
_TASK = Task(
    id=TaskId("t1"),
    run=RunId("r1"),
    round=1,
    device=_BOX.device,
    dataset="digits",
    bundle=_BLOB,
    base=_BLOB,
    base_version=VersionId("digits-1"),
    plan=Plan(train=True, epochs=1, batch_size=2, learning_rate=0.1, seed=1, holdout=0.1, threads=0, codec="f32"),
    deadline_ms=1000,
    labels=(("site", "north"),),
)
_WANTED = Deployment(_BOX.device, RolloutId("o1"), ModelName("digits"), VersionId("digits-1"), 1, _BLOB, _BLOB, 0.001)
_SESSION = Session(
    box=_BOX,
    revision=3,
    seen=4,
    time=ServerTime(5),
    held=(Held(_TASK, 1), Held(_TASK, 2, Stage.SPOOLED, 1, _BLOB, _METRICS)),
    finished=(Finished(TaskId("t0"), 99), Finished(TaskId("t9"), 100)),
    reports=(TaskReport(TaskId("t2"), Failed("x")), TaskReport(TaskId("t3"), Evaluated(_METRICS)),
             TaskReport(TaskId("t4"), Rejected("y"))),
    installs=(Install(_WANTED, InstallState.INSTALLED),),
    install_reports=(DeploymentReport(RolloutId("o1"), ModelName("digits"), 1, True, ""),),
    denied=(Denied("k", "r", 7),),
    sent=Sent(1, 2),
)  # fmt: skip
_ROWS = {key: json.loads(body) for key, body in records.dump(_SESSION).items()}
_SURVEY = json.loads(records.dump_survey(Survey("f", DatasetCard("d", 1, (Column("x", "float32", (4,)),), ""))))
_RECORDS, _ONE_SURVEY, _FILE = range(3)


class Journals:
    """An input begins with what it is (one byte): records as lines of key, tab and body; a survey; a file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal.db"
        with ledger.Ledger(self._path) as made:
            made.write(records.dump(_SESSION))
        self._file = self._path.read_bytes()

    def make(self, source: random.Random) -> bytes:
        """Twist some records of a session; seldom, for it takes long, damage the file."""
        draw = source.random()
        if draw < 0.01:
            return bytes((_FILE,)) + damaged(self._file, source)
        if draw < 0.1:
            return bytes((_ONE_SURVEY,)) + twisted(_SURVEY, source)
        lines = [
            key.encode() + b"\t" + (twisted(tree, source) if source.random() < 0.4 else json.dumps(tree).encode())
            for key, tree in source.sample(sorted(_ROWS.items(), key=lambda row: row[0]), source.randint(1, 6))
        ]
        return bytes((_RECORDS,)) + b"\n".join(lines)

    def check(self, data: bytes) -> str:
        """Load it."""
        if data[0] == _ONE_SURVEY:
            try:
                records.load_survey(data[1:])
            except ValueError:
                return "no survey"
            return "a survey"
        rows = self._examine(data[1:]) if data[0] == _FILE else _rows(data[1:])
        session, unreadable = records.load(rows, _BOX)
        if worse := records.load(records.dump(session), _BOX)[1]:
            raise AssertionError(f"what was kept can't be read back: {worse}")
        return "left something out" if unreadable else "accepted"

    def _examine(self, data: bytes) -> dict[str, bytes]:
        self._path.write_bytes(data)
        for beside in ("-wal", "-shm"):
            self._path.with_name(self._path.name + beside).unlink(missing_ok=True)
        return ledger.examine(self._path)[0]


def _rows(data: bytes) -> dict[str, bytes]:
    return {
        key.decode("utf-8", "replace"): body for key, _, body in (line.partition(b"\t") for line in data.split(b"\n"))
    }
