"""How a job in the training child can end badly: each message is a sentence for a person."""


class TrainingError(Exception):
    """A job can't be done."""


class NotPossible(TrainingError):
    """It can't work on this box whatever is tried: a wrong shape, an empty dataset, a graph the engine can't train."""


class Interrupted(Exception):
    """A training was asked to stop: it goes on from its checkpoint another time."""


class WentWrong(TrainingError):
    """It was tried and failed: a loss that is not a number, no memory."""
