"""How a gateway that is full says when to come back."""

RETRY_DELAY = "retry-delay-ms"  # trailing metadata beside RESOURCE_EXHAUSTED: a whole number of milliseconds
