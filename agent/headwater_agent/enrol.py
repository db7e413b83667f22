"""`headwater-agent enroll`: an invitation in, an identity on disk."""

import sys
from getpass import getpass

from headwater_wire import invitation
from headwater_wire.errors import Malformed

from headwater_agent.config import Config
from headwater_agent.edges import enrolment
from headwater_agent.edges.alone import alone
from headwater_agent.edges.enrolment import NoCertificate
from headwater_agent.edges.identity import Identity, NotEnrolled, Vault
from headwater_agent.edges.membership import folder

FROM_INPUT = "-"
_LINE_CHARS = 1_000


def read_invitation(argument: str) -> str:
    """Give the invitation: the argument, or, if that is "-", the last word of a line of standard input.

    That way it is in no list of processes and no shell's history. On a terminal it is asked for, and not shown.
    Raises `NoCertificate` if there is none.
    """
    if argument != FROM_INPUT:
        return argument
    line = getpass("Invitation (it is not shown): ") if sys.stdin.isatty() else sys.stdin.readline(_LINE_CHARS)
    if not line.strip():
        raise NoCertificate("no invitation was given: pass on what `headwater device invite -q` prints", refused=True)
    return line.split()[-1]


async def enrol(config: Config, text: str, *, again: bool) -> Identity:
    """Get an identity and keep it; raise `NoCertificate`. One that is there stays, unless `again`.

    Not beside a running agent, which would write what it knows over the new identity: raises `AlreadyRunning`.
    """
    with alone(config.agent.state_dir):
        return await _enrolled(config, text, again=again)


async def _enrolled(config: Config, text: str, *, again: bool) -> Identity:
    vault = Vault(folder(config))
    try:
        present = vault.load()
    except NotEnrolled:
        pass
    else:
        if not again:
            raise NoCertificate(
                f"this box is enrolled already, as {present.device}; to do it anew, say --again", refused=True
            )
    try:
        invited = invitation.decode(text)
    except Malformed as error:
        raise NoCertificate(str(error), refused=True) from error
    identity = await enrolment.enroll(invited, config.agent.id, vault.new_key(), insists=config.agent.named)
    vault.keep(identity)
    return identity
