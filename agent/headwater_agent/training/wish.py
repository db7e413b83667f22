"""The wish that a training stops at its next step, heard as SIGTERM: systemd sends that to a whole service, too."""

import signal


class Wish:
    """Whether it was uttered since `listen` or the last `forget`."""

    def __init__(self) -> None:
        self._uttered = False

    def __call__(self) -> bool:
        """Say whether to stop."""
        return self._uttered

    def listen(self) -> None:
        """Take SIGTERM for it from now on: it doesn't end this process any more."""
        signal.signal(signal.SIGTERM, lambda *_: self._hear())

    def forget(self) -> None:
        """Begin anew, with a job's end."""
        self._uttered = False

    def _hear(self) -> None:
        self._uttered = True
