"""What stands in mosquitto's files."""

import json
from pathlib import Path

from headwater_control.edges.mosquitto.rendering import Plan, acl, configuration, dynamic_security
from headwater_wire.ids import DeviceId
from headwater_wire.topics import DOWN, UP, down, up

PLAN = Plan(Path("/etc/mosquitto/headwater"), "0.0.0.0", 8883, Path("/usr/lib/plugin.so"))


def directives(text: str) -> list[tuple[str, str]]:
    """Read mosquitto.conf: each directive with its value."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, value) for name, _, value in (line.partition(" ") for line in lines)]


def test_every_directive_stands_once_but_the_kinds_of_log() -> None:
    """Of two, mosquitto takes the last, and nobody knows which was meant."""
    names = [name for name, _ in directives(configuration(PLAN)) if name != "log_type"]
    assert sorted(names) == sorted(set(names))
    assert all(value for _, value in directives(configuration(PLAN)))


def test_what_belongs_to_a_listener_comes_after_it() -> None:
    """mosquitto reads certificates and limits of a listener only below its line."""
    names = [name for name, _ in directives(configuration(PLAN))]
    below = names[names.index("listener") + 1 :]
    assert {"cafile", "certfile", "keyfile", "crlfile", "require_certificate"} <= set(below)
    assert {"use_identity_as_username", "use_username_as_clientid", "tls_version"} <= set(below)


def test_its_files_are_in_its_folder() -> None:
    """Every path is absolute, whatever mosquitto's working directory is."""
    found = dict(directives(configuration(PLAN)))
    for name in ("acl_file", "cafile", "certfile", "crlfile", "keyfile", "plugin_opt_config_file"):
        assert found[name].startswith("/etc/mosquitto/headwater/")
    assert found["listener"] == "8883 0.0.0.0"


def test_a_user_is_named_only_if_it_is_not_mosquitto_s_default() -> None:
    """Whose the files are decides as whom mosquitto must run."""
    assert "user" not in dict(directives(configuration(PLAN)))
    ours = Plan(PLAN.folder, PLAN.host, PLAN.port, PLAN.plugin, user="headwater")
    assert dict(directives(configuration(ours)))["user"] == "headwater"


def test_the_acl_has_every_topic_of_the_wire_and_no_other() -> None:
    """A kind of message that is added to the wire can be sent, and nothing that is not on it."""
    device, everybody = DeviceId("%u"), DeviceId("+")
    rules = [line for line in acl().splitlines() if not line.startswith(("#", "user"))]
    assert sorted(rules) == sorted(
        [f"pattern write {up(device, kind)}" for kind in UP]
        + [f"pattern read {down(device, kind)}" for kind in DOWN]
        + [f"topic read {up(everybody, kind)}" for kind in UP]
        + [f"topic write {down(everybody, kind)}" for kind in DOWN]
        + ["topic write $CONTROL/dynamic-security/v1", "topic read $CONTROL/dynamic-security/v1/response"]
    )


def test_the_plugin_begins_without_clients_and_allows_nothing() -> None:
    """What it allowed would be allowed to everybody: acl_file is asked only where it has no opinion."""
    state = json.loads(dynamic_security())
    assert state["clients"] == state["groups"] == state["roles"] == []
    allowed = {what for what, is_allowed in state["defaultACLAccess"].items() if is_allowed}
    assert allowed == {"unsubscribe"}
