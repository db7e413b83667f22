"""An MQTT v5 broker in the control plane's own event loop."""

from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.server import Broker, serve
from headwater_control.edges.broker.tally import Tally
from headwater_control.edges.broker.terms import Action, Authenticate, Authorize, Credentials

__all__ = ["Action", "Authenticate", "Authorize", "Broker", "Credentials", "Limits", "Tally", "serve"]
