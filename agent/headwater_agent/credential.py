"""What systemd hands to a service without putting it where others read it: systemd.exec(5), LoadCredential."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from headwater_agent.config import Config
from headwater_agent.edges.identity import NotEnrolled, Vault
from headwater_agent.edges.membership import folder

INVITATION = "headwater.invitation"
_BEGINS = "hw1."


def invitation(config: Config, environment: Mapping[str, str]) -> str:
    """Give the invitation that was handed over to a box without an identity; nothing, if there is none or no need."""
    given = environment.get("CREDENTIALS_DIRECTORY", "")
    if not given or config.control_plane.insecure:
        return ""
    words: list[str] = []
    with suppress(FileNotFoundError):
        words = (Path(given) / INVITATION).read_text(errors="replace").split()
    if not words or not words[-1].startswith(_BEGINS):
        return ""
    try:
        Vault(folder(config)).load()
    except NotEnrolled:
        return words[-1]
    return ""
