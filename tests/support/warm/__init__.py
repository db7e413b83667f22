"""Processes that need not load Python's libraries first: forked from one that has, each otherwise as started anew.

To load them is three quarters of a control plane's start, and the suite starts dozens. Environment, arguments, process
group, log and death are each process's own. The demo's and the README's tests start theirs as a user does.
"""

from tests.support.warm.child import launch

__all__ = ["launch"]
