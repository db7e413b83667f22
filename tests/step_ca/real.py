"""The real step-ca, as a process of its own."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.step_ca.company import PROVISIONER, Company
from tests.support.waiting import until_now

BINARY = "STEP_CA"  # the variable that says where it is


@contextmanager
def real_step_ca(company: Company) -> Iterator[str]:
    """Run it while the context lasts; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    rules = company.rules
    options = {}
    if rules.template:
        (company.folder / "headwater.tpl").write_text(rules.template)
        options = {"x509": {"templateFile": str(company.folder / "headwater.tpl")}}
    longest, fixed = f"{rules.most_hours}h", not rules.renewal
    provisioner = {
        "type": "JWK",
        "name": PROVISIONER,
        "key": company.provisioner.as_dict(private=False),
        "claims": {"maxTLSCertDuration": longest, "defaultTLSCertDuration": "24h", "disableRenewal": fixed},
        "options": options,
    }
    config = {
        "root": str(company.folder / "root.pem"),
        "crt": str(company.folder / "issuing.pem"),
        "key": str(company.folder / "issuing.key"),
        "address": f"127.0.0.1:{port}",
        "dnsNames": ["127.0.0.1"],
        "db": {"type": "badgerv2", "dataSource": str(company.folder / "db")},
        "authority": {"provisioners": [provisioner]},
    }
    (company.folder / "ca.json").write_text(json.dumps(config))
    log = company.folder / "step-ca.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            [Path(os.environ[BINARY]).absolute(), company.folder / "ca.json"],
            stdout=out,
            stderr=out,
            env={**os.environ, "STEPPATH": str(company.folder / "step")},
        )
    try:
        until_now(lambda: _answers(port), f"step-ca listens; it says: {log.read_text()}")
        yield f"https://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
