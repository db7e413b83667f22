"""What an idle agent must not load, and that letting go of code breaks nothing."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from headwater_agent.edges.certificates import read_chain, request
from headwater_agent.edges.footprint import let_go_of_code
from headwater_agent.edges.identity import ControlPlane, Vault, identify
from headwater_control.edges.ca import embedded
from headwater_wire.ids import DeviceId

from tests.support.signing import SIGNER

_START = """
import json, os, sys
from pathlib import Path
import headwater_agent.__main__, headwater_agent.daemon
from headwater_agent.config import load
from headwater_agent.edges.membership import membership
from headwater_wire.v1 import gateway_pb2
member = membership(load(Path(sys.argv[1]), os.environ))
member.mqtt_tls(), member.grpc_credentials()
member.trust.learn(gateway_pb2.SignedKeys.FromString(bytes.fromhex(sys.argv[2])))
heavy = "cryptography", "numpy", "onnxruntime", "onnx"
print(json.dumps([name for name in heavy if name in sys.modules] + [member.device]))
"""


def test_a_start_and_a_sync_without_orders_load_nothing_heavy(tmp_path: Path) -> None:
    """With an identity, and told the signing keys that it knows: no certificate is read, no signature checked."""
    now = datetime.now(UTC)
    authority = embedded(tmp_path / "ca", now)
    vault = Vault(tmp_path / "state" / "identity")
    key = vault.new_key()
    known = ControlPlane(authority.root_pem.decode(), (SIGNER.public.hex(),), "c:1", "c:2", "c:3")
    issued = authority.device(DeviceId("box-1"), request(key), now)
    vault.keep(identify(key, read_chain(issued.chain), known))
    (tmp_path / "agent.toml").write_text('[agent]\nstate_dir = "state"\n')
    told = SIGNER.keys().SerializeToString().hex()
    command = [sys.executable, "-c", _START, str(tmp_path / "agent.toml"), told]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout and json.loads(done.stdout) == ["box-1"], done.stderr


def test_code_that_was_let_go_runs_again() -> None:
    """It comes back from its file: twice, in this very process."""
    for _ in range(2):
        let_go_of_code()
        assert json.loads(json.dumps({"still": [1.5, "here"]})) == {"still": [1.5, "here"]}
