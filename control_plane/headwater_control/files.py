"""How many files this process may open: a device takes two of them, its MQTT connection and its gRPC connection."""

import logging
import resource

OURS = 256  # the database, blobs, operators, child processes
FEW = 4096
log = logging.getLogger(__name__)


def allow_many() -> int:
    """Raise the limit as far as it may be raised (setrlimit(2)); give for how many devices that is enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError) as error:  # macOS has a lower one of its own
            log.info("the limit of open files stays at %d: %s", soft, error)
    devices = 10**9 if soft == resource.RLIM_INFINITY else max(0, soft - OURS) // 2
    if devices < FEW // 2:
        log.warning(
            "this process may open %d files, which is enough for %d devices: allow more by LimitNOFILE=65536 in the "
            "systemd unit, or by `ulimit -Hn 65536` in the shell that starts it",
            soft,
            devices,
        )
    return devices
