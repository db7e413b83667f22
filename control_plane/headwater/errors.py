"""What can go wrong when talking to the control plane."""


class HeadwaterError(Exception):
    """The root: every message is one clear sentence for a person."""


class Unreachable(HeadwaterError):
    """Nobody answers at the control plane's address."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"can't reach the control plane at {url} ({cause}): is `headwater serve` running there?")
        self.url = url


class NotFound(HeadwaterError):
    """There is nothing of that name."""


class Conflict(HeadwaterError):
    """It can't be done in the present state: the name is taken, the run has ended."""


class Invalid(HeadwaterError):
    """The request, or the file sent, can't be worked with. `fields` are those of the request: (name, what is wrong)."""

    def __init__(self, sentence: str, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(sentence)
        self.fields = fields


class Damaged(HeadwaterError):
    """A download whose SHA-256 is not the one announced."""


class Unfinished(HeadwaterError):
    """What was waited for had not ended when the time was up."""


class Unexpected(HeadwaterError):
    """An answer that this client can't make sense of, or the server's own fault."""


class Unauthenticated(HeadwaterError):
    """The control plane does not know who asks: there is no token, or not a good one, or too many bad ones came."""


class Forbidden(HeadwaterError):
    """Whoever asks may not do that."""


class Untrusted(HeadwaterError):
    """The control plane's certificate is of an authority that is not known here."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"{url} can't prove that it is the control plane ({cause}). If you have not logged in there yet: "
            f"`headwater login {url} --ca-fingerprint sha256:…`, with the fingerprint that it told at its first start; "
            "HEADWATER_CA may name the file of another authority. If you have, do not go on: somebody may stand between"
        )
        self.url = url
