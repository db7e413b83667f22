"""The certificate authority: our own, or one that the operator brings as files."""

from headwater_control.edges.ca.authority import Authority, BadAuthority, Leaf
from headwater_control.edges.ca.files import brought, embedded

__all__ = ["Authority", "BadAuthority", "Leaf", "brought", "embedded"]
