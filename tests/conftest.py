"""What holds for every test: hypothesis explores at a developer's, and repeats the same examples on CI."""

import os

from hypothesis import settings

# No deadline: a shared machine may pause a test in its middle, which says nothing about the code.
settings.register_profile("explore", deadline=None)
settings.register_profile("repeat", deadline=None, derandomize=True)
settings.load_profile("repeat" if os.environ.get("CI") else "explore")
