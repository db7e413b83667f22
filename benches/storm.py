"""A fleet that comes back at once: `python -m benches storm --agents 2000` restarts a control plane under it.

The agents are the agent's own core, loop, MQTT and gRPC connections, with mTLS and one certificate each, over a disk
and a worker in memory, spread over some processes of this machine, which therefore has to do both sides' cryptography.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support.storm import storm

WITHIN_S = 60.0


def main() -> None:
    """Print how long it took to admit all, and what it cost; fail if it took too long or anybody complained."""
    parser = argparse.ArgumentParser(prog="python -m benches storm", description=__doc__)
    parser.add_argument("--agents", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2, help="that the agents are spread over")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = storm(Path(folder), given.agents, processes=given.processes)
    print(
        f"{found.agents} agents admitted in {found.all_s:.1f} s "
        f"(p50 {found.percentile(0.5):.1f}, p90 {found.percentile(0.9):.1f}, "
        f"p99 {found.percentile(0.99):.1f}), all shown online after {found.shown_s:.1f} s; "
        f"control plane: {found.cpu_s:.1f} s of CPU ({1000 * found.cpu_s / found.agents:.1f} ms each), "
        f"{found.peak_mb:.0f} MB at its peak"
    )
    print(f"{found.all_s / WITHIN_S:.2f} of the {WITHIN_S:.0f} s that are allowed; {len(found.errors)} errors")
    for line in found.errors[:20]:
        print(f"  {line[:200]}")
    for what, count in sorted(found.said.items(), key=lambda pair: -pair[1])[:20]:
        print(f"  agents said {count} times: {what}")
    sys.exit(found.all_s > WITHIN_S or bool(found.errors or found.said))
