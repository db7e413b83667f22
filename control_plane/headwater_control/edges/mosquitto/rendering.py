"""What stands in mosquitto's files (mosquitto.conf(5), of 2.0): pure functions of a plan."""

import json
from dataclasses import dataclass
from pathlib import Path

from headwater_wire.ids import DeviceId
from headwater_wire.topics import DOWN, UP, down, up

ACL, CA, CONFIGURATION, CRL, DYNAMIC, IDENTITY = (
    "acl",
    "ca.pem",
    "mosquitto.conf",
    "crl.pem",
    "state/dynamic-security.json",
    "broker.pem",
)
COMMANDS = "$CONTROL/dynamic-security/v1"
RESPONSES = f"{COMMANDS}/response"

_ITSELF = DeviceId("%u")  # in a pattern: the client's user name, which is its certificate's CN
_ANY = DeviceId("+")

_CONFIGURATION = """\
# mosquitto 2.0 as the broker of a Headwater fleet. Generated: `headwater broker-config` overwrites it.

# One set of rules for all listeners, so that one added here is not open by mistake.
per_listener_settings false
allow_anonymous false
acl_file {acl}
# It ends the live sessions of a device that is shut out. It has no rules of its own, and so leaves them to acl_file.
plugin {plugin}
plugin_opt_config_file {dynamic}
{user}
# Nothing need outlive a restart: what is lost is healed by Sync. So the disk is left alone, and nothing is retained.
persistence false
retain_available false
persistent_client_expiration 1d
queue_qos0_messages false

# Packets: a registration has a few kilobytes, an order too. Agents take 256 KiB at most.
max_packet_size 262144
# Fewer than an agent has room for (64), since 2.0 forgets the Receive Maximum it asks for. The default of 20 would hold
# the control plane back, which acknowledges when its database has committed.
max_inflight_messages 50
# For one client: a fleet that comes back at once must fit into the control plane's queue, and a slow client must not
# take the broker's memory.
max_queued_messages 10000
max_queued_bytes 67108864
# A client that is gone without a word is noticed within 15 minutes.
max_keepalive 600
# Else a small packet waits for the acknowledgement of the one before, for 45 ms.
set_tcp_nodelay true
# Nobody may read $SYS, so it need not be worked out.
sys_interval 0

# To stderr, which is the journal under systemd. Not `subscribe`: the control plane's share name is secret.
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
connection_messages true

listener {port} {host}
# As the control plane uses no QoS 2 and no topic aliases, neither may anybody else.
max_qos 1
max_topic_alias 0
tls_version tlsv1.2
certfile {identity}
keyfile {identity}
# Who comes must have a certificate, and its name (CN) is the user and the client id, whatever the client says: with the
# second line alone, a good certificate would still take over another's session.
require_certificate true
use_identity_as_username true
use_username_as_clientid true
cafile {ca}
# Refuses what is revoked, and what another authority beneath our root has issued: for that there is no list here.
crlfile {crl}
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a mosquitto has its files, and where it listens. `user`: whom it becomes if root starts it."""

    folder: Path
    host: str
    port: int
    plugin: Path
    user: str = ""  # "": mosquitto's default, the user mosquitto


def configuration(plan: Plan) -> str:
    """Write mosquitto.conf."""
    return _CONFIGURATION.format(
        acl=plan.folder / ACL,
        ca=plan.folder / CA,
        crl=plan.folder / CRL,
        dynamic=plan.folder / DYNAMIC,
        host=plan.host,
        identity=plan.folder / IDENTITY,
        plugin=plan.plugin,
        port=plan.port,
        user=f"# Its files are this user's alone.\nuser {plan.user}\n" if plan.user else "",
    )


def acl() -> str:
    """Write the ACL: who may write and read which topics, as the embedded broker has it. All else is refused.

    mosquitto lets everybody subscribe to everything, and judges each message when it is to be delivered.
    """
    rules = [
        "# Generated: `headwater broker-config` overwrites it.",
        "user control:gate",
        *(f"topic read {up(_ANY, kind)}" for kind in UP),
        "user control:publisher",
        *(f"topic write {down(_ANY, kind)}" for kind in DOWN),
        "user control:bouncer",
        f"topic write {COMMANDS}",
        f"topic read {RESPONSES}",
        "# A device: its own topics.",
        *(f"pattern write {up(_ITSELF, kind)}" for kind in UP),
        *(f"pattern read {down(_ITSELF, kind)}" for kind in DOWN),
    ]
    return "\n".join(rules) + "\n"


def dynamic_security() -> str:
    """Write the first state of the dynamic security plugin: nobody, and no rule, so that acl_file decides."""
    refused = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe"), False)
    nobody: dict[str, object] = {"clients": [], "groups": [], "roles": []}
    return json.dumps({"defaultACLAccess": {**refused, "unsubscribe": True}, **nobody}, indent=1) + "\n"
