"""mosquitto as the broker: its configuration, and how those who are shut out are kept out of it."""

from headwater_control.edges.mosquitto.bouncer import Bouncer
from headwater_control.edges.mosquitto.folder import Folder
from headwater_control.edges.mosquitto.kicker import Kicker
from headwater_control.edges.mosquitto.reload import NotReloaded
from headwater_control.edges.mosquitto.rendering import Plan
from headwater_control.edges.mosquitto.renewal import Renewal
from headwater_control.edges.mosquitto.revocations import RevocationList

__all__ = ["Bouncer", "Folder", "Kicker", "NotReloaded", "Plan", "Renewal", "RevocationList"]
