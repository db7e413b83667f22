"""How long a gRPC connection may last: gRPC itself would keep one whose call never says what it wants for ever."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lifetime:
    """After `age_s` (give or take a tenth) a connection takes no further call; what is under way has `grace_s` left.

    A unary call that is half sent is no call of ours yet, so that none of our deadlines ends it: this does. gRPC's own
    grace has no end. One without calls ends after `idle_s`.
    """

    age_s: float
    grace_s: float
    idle_s: float

    @property
    def longest_s(self) -> float:
        """Tell what age none exceeds."""
        return 1.1 * self.age_s + self.grace_s

    @property
    def options(self) -> tuple[tuple[str, int], ...]:
        """Say it to a server."""
        return (
            ("grpc.max_connection_age_ms", int(self.age_s * 1000)),
            ("grpc.max_connection_age_grace_ms", int(self.grace_s * 1000)),
            ("grpc.max_connection_idle_ms", int(self.idle_s * 1000)),
        )
