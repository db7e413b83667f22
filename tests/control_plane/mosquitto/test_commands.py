"""What is said to the dynamic security plugin, and what its answers mean."""

import json

import pytest
from headwater_control.edges.mosquitto.commands import answered, kick
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId
from hypothesis import given
from hypothesis import strategies as st


def answer(token: str, *commands: tuple[str, str | None]) -> bytes:
    """Write what the plugin would."""
    said = [
        {"command": name, "correlationData": token, **({} if error is None else {"error": error})}
        for name, error in commands
    ]
    return json.dumps({"responses": said}).encode()


def test_a_kick_leaves_no_client_behind() -> None:
    """Each device is made known, disabled, which ends its sessions, and forgotten again."""
    commands = json.loads(kick([DeviceId("a"), DeviceId("b")], "7"))["commands"]
    assert [(one["command"], one["username"]) for one in commands] == [
        (command, device) for device in "ab" for command in ("createClient", "disableClient", "deleteClient")
    ]
    assert {one["correlationData"] for one in commands} == {"7"}


def test_an_answer_without_errors_is_good() -> None:
    """Nothing went wrong."""
    assert answered(answer("7", ("createClient", None), ("disableClient", None)), "7") == ()


def test_that_a_client_is_there_already_does_no_harm() -> None:
    """An attempt that was cut short between the commands leaves one."""
    assert answered(answer("7", ("createClient", "Client already exists"), ("disableClient", None)), "7") == ()


def test_an_error_is_told() -> None:
    """With the command that failed."""
    assert answered(answer("7", ("disableClient", "Client not found")), "7") == ("disableClient: Client not found",)


def test_another_request_s_answer_says_nothing() -> None:
    """Neither success nor failure."""
    assert answered(answer("6", ("disableClient", "Client not found")), "7") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["responses", "error", "x"]), inner),
    max_leaves=5,
)


@given(st.one_of(st.binary(max_size=50), JSON.map(lambda tree: json.dumps(tree).encode())))
def test_whatever_comes_as_an_answer_is_read_or_malformed(payload: bytes) -> None:
    """Nothing else is raised, and nothing that is not for us is taken for an answer."""
    try:
        assert answered(payload, "7") is None
    except Malformed:
        return


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"responses": 1}', b'{"responses": [1]}', b"\xff"])
def test_what_is_no_answer_is_malformed(payload: bytes) -> None:
    """It is told, with its beginning."""
    with pytest.raises(Malformed, match="no answer of the dynamic security plugin"):
        answered(payload, "7")
