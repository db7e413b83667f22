"""Tests of what only a kernel with all of the confinement refuses."""

import os

import pytest
from headwater_agent.training import confinement


def needs_confinement() -> None:
    """Skip where the kernel lacks a part, with its name; but fail on CI, which must have one that lacks none."""
    if missing := confinement.lacking():
        reason = f"this kernel can't confine all that is tried here: it has no {', '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI may not skip what needs it")
        pytest.skip(reason)
