"""The doctor's checks: what lies on this box (`local`), and what is reached over the network (`remote`)."""

import asyncio
from dataclasses import dataclass
from typing import Any

from headwater_agent.config import Config
from headwater_agent.edges.console import Hangs, NobodyThere, Refused, ask
from headwater_agent.edges.identity import Identity, NotEnrolled, Vault
from headwater_agent.edges.membership import Membership, folder, membership


@dataclass(frozen=True, slots=True)
class Patient:
    """A box under examination: what is known before anything is looked at."""

    config: Config
    identity: Identity | None
    member: Membership | None
    trouble: str  # why there is no identity, or no member; empty: nothing is wrong with them
    running: dict[str, Any] | None  # the status of the agent that runs here
    silent: str  # why the agent that seems to run does not say how it is
    hangs: bool = False  # it is there, and says nothing at all

    @classmethod
    async def of(cls, config: Config) -> "Patient":
        """Read the identity, and ask the running agent."""
        identity: Identity | None = None
        member: Membership | None = None
        trouble = silent = ""
        running, hangs = None, False
        try:
            member = membership(config)
            identity = None if config.control_plane.insecure else Vault(folder(config)).load()
        except NotEnrolled as error:
            trouble = str(error)
        try:
            running = await asyncio.to_thread(ask, config.agent.state_dir, {"ask": "status"})
        except NobodyThere:
            pass
        except Refused as error:
            silent, hangs = str(error), isinstance(error, Hangs)
        return cls(config, identity, member, trouble, running, silent, hangs)
