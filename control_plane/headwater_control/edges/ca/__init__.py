"""The certificate authority: our own, or one that the operator brings, as files or as a step-ca."""

from headwater_control.edges.ca.authority import Authority, Leaf
from headwater_control.edges.ca.files import brought, embedded
from headwater_control.edges.ca.signer import BadAuthority

__all__ = ["Authority", "BadAuthority", "Leaf", "brought", "embedded"]
