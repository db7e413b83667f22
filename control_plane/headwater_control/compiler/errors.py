"""What makes a model, or a set of parameters, unusable."""


class CompileError(Exception):
    """It can't be used: the message says why, where, and what to do. Picklable: it carries nothing else."""
