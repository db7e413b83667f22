"""What a use case refuses: each message is one sentence for a person, saying what to do."""


class ServiceError(Exception):
    """A request that can't be carried out as it stands."""


class NotFound(ServiceError):
    """Something named does not exist."""


class Conflict(ServiceError):
    """Something is in a state that does not allow it."""


class Invalid(ServiceError):
    """A request that would make no sense: its values are wrong."""


class Forbidden(ServiceError):
    """Whoever asks may not do that."""
