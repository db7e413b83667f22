"""The names of tensors in a bundle's training graphs: what the compiler writes and an engine binds.

`train` takes a step: beside the model's inputs and `label` it reads each parameter under its own name, and under the
names below what it was at the task's beginning, the optimizer's state, and scalars; it gives the next of each, and
LOSS. `evaluation` gives LOSS and WEIGHT, and CORRECT and ABSOLUTE_ERROR where the loss has them, of a batch.

Where memory is short, two graphs stand in for `train`: `accumulate` adds a piece's gradient, times its WEIGHT, to each
parameter's `total`, and gives LOSS and WEIGHT; `update` takes the step that the totals and the weights' sum make.
"""

PREFIX = "hw."  # of every tensor that the compiler adds; no model's own tensor may begin so
LABEL = "label"

# Scalar inputs, float32.
LEARNING_RATE, MOMENTUM = f"{PREFIX}learning_rate", f"{PREFIX}momentum"
BETA1, BETA2, EPSILON = f"{PREFIX}beta1", f"{PREFIX}beta2", f"{PREFIX}epsilon"
WEIGHT_DECAY, CLIP_NORM, PROXIMAL = f"{PREFIX}weight_decay", f"{PREFIX}clip_norm", f"{PREFIX}proximal"
STEP = f"{PREFIX}step"  # counts from 1

# Scalar outputs, float32.
LOSS = f"{PREFIX}loss"  # the batch's mean, before the step
WEIGHT = f"{PREFIX}weight"  # what the mean was divided by: with them, means of pieces make the mean of all
CORRECT = f"{PREFIX}correct"  # examples that are right; a share of one whose parts are judged one by one
ABSOLUTE_ERROR = f"{PREFIX}absolute_error"  # summed over the examples, each with the mean of its numbers


def new(name: str) -> str:
    """Name the output that holds what a parameter, or a state, becomes."""
    return f"{PREFIX}new.{name}"


def state(slot: str, parameter: str) -> str:
    """Name the input that holds a parameter's state in one of the optimizer's slots."""
    return f"{PREFIX}state.{slot}.{parameter}"


def total(parameter: str) -> str:
    """Name the input that holds the sum of a parameter's weighted gradients."""
    return f"{PREFIX}total.{parameter}"


def beginning(parameter: str) -> str:
    """Name the input that holds a parameter as the task began with it."""
    return f"{PREFIX}beginning.{parameter}"
