"""From JSON to records, whatever the server's age."""

import json
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import Any, get_type_hints

import pytest
from headwater import records
from headwater.decode import decode
from headwater.errors import Unexpected
from headwater_control.gates.http import audit, schemas
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(max_size=20)
BLOBS = st.builds(records.Blob, TEXT, st.integers(0, 2**53))
MOMENTS = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
VERSIONS = st.builds(
    records.Version,
    TEXT,
    TEXT,
    st.integers(),
    BLOBS,
    MOMENTS,
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | st.integers(),
)
TASKS = st.builds(
    records.Task,
    *(TEXT, TEXT, st.integers(), TEXT, TEXT, MOMENTS, MOMENTS),
    phase=st.none() | TEXT,
    loss=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    metrics=st.none() | st.builds(records.Metrics, st.integers()),
)
DEVICES = st.builds(
    records.Device,
    *(TEXT, MOMENTS, st.booleans()),
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
    datasets=st.lists(st.builds(records.Dataset, TEXT, st.integers()), max_size=3).map(tuple),
    last_seen=st.none() | MOMENTS,
)
DETAILS = st.builds(
    records.DeviceDetail, DEVICES, st.lists(TASKS, max_size=3).map(tuple), st.just(()), st.just(("idle",))
)


def spelled(record: Any) -> Any:
    """Send a record through JSON."""
    return json.loads(json.dumps(asdict(record), default=lambda moment: moment.isoformat()))


@given(st.one_of(VERSIONS, TASKS, DEVICES, DETAILS))
def test_a_record_survives_the_journey(record: Any) -> None:
    """What was spelled as JSON is read as the same record."""
    assert decode(type(record), spelled(record)) == record


@given(DETAILS)
def test_what_a_newer_server_adds_is_left_out(record: records.DeviceDetail) -> None:
    """Unknown fields, at any depth, are no mistake."""
    tree = spelled(record)
    tree["new"] = tree["device"]["new"] = {"anything": [1]}
    assert decode(records.DeviceDetail, tree) == record


@given(VERSIONS)
def test_what_an_older_server_does_not_tell_has_its_default(record: records.Version) -> None:
    """A field that may be absent is None then, not an error."""
    tree = spelled(record)
    del tree["run"], tree["parent"]
    assert decode(records.Version, tree) == replace(record, run=None, parent=None)


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        {},
        {"digest": 5, "size": 1},
        {"digest": "a", "size": "1"},
        {"digest": "a", "size": 1.5},
        {"digest": "a"},
        "blob",
    ],
)
def test_what_is_no_record_is_an_error(tree: Any) -> None:
    """A wrong type or a missing field is said, not passed on."""
    with pytest.raises(Unexpected, match="Blob"):
        decode(records.Blob, tree)


PAIRS = [
    (kind, getattr(schemas, kind.__name__))
    for kind in vars(records).values()
    if isinstance(kind, type) and hasattr(schemas, kind.__name__) and kind.__module__ == records.__name__
]
PAIRS += [(records.AuditEntry, audit.AuditEntry), (records.AuditVerdict, audit.AuditVerdict)]


@pytest.mark.parametrize(("record", "schema"), PAIRS, ids=lambda kind: kind.__name__)
def test_the_sdk_knows_every_field_of_the_api(record: Any, schema: Any) -> None:
    """Records and schemas name the same fields, and what the API may leave null the SDK takes as None."""
    assert {field.name for field in fields(record)} == set(schema.model_fields)
    hints = get_type_hints(record)
    for name, field in schema.model_fields.items():
        nullable = type(None) in getattr(field.annotation, "__args__", ())
        assert nullable == (type(None) in getattr(hints[name], "__args__", ())), name
