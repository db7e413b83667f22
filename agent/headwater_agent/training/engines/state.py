"""What a step reads and writes: parameters and the optimizer's state as flat vectors, and the plan's scalars."""

import numpy as np
import numpy.typing as npt
from headwater_wire import graphs
from headwater_wire.manifest import Manifest
from headwater_wire.messages import Plan

from headwater_agent.training.engine import State as Saved
from headwater_agent.training.engine import Vector
from headwater_agent.training.engines import stock


class State:
    """A set of parameters and optimizer state."""

    def __init__(self, manifest: Manifest) -> None:
        self.vector: Vector = np.zeros(manifest.elements, np.float32)
        self._slots = {slot: np.zeros(manifest.elements, np.float32) for slot in manifest.step.slots}
        self._parameters = manifest.parameters
        self._descending = tuple(parameter for parameter in manifest.parameters if not parameter.statistic)

    def begin(self, vector: Vector) -> None:
        """Take parameters, with a fresh optimizer."""
        self.vector[:] = vector
        for values in self._slots.values():
            values[:] = 0

    def resume(self, saved: Saved) -> None:
        """Take what `tensors` showed."""
        for name, values in self.tensors().items():
            values[:] = saved[name]

    def tensors(self) -> dict[str, Vector]:
        """Give all of it, flat: the parameters, and the optimizer's state by slot."""
        return {"parameters": self.vector} | {f"slot {slot}": values for slot, values in self._slots.items()}

    def parameters(self) -> dict[str, Vector]:
        """Give views of all parameters."""
        return stock.views(self.vector, self._parameters)

    def statistics(self) -> dict[str, Vector]:
        """Give views of the running statistics."""
        statistics = tuple(parameter for parameter in self._parameters if parameter.statistic)
        return stock.views(self.vector, statistics)

    def descending(self) -> dict[str, Vector]:
        """Give views of what the optimizer moves, and of its state, as the training graph calls them."""
        tensors = stock.views(self.vector, self._descending)
        for slot, values in self._slots.items():
            parts = stock.views(values, self._descending)
            tensors |= {graphs.state(slot, name): part for name, part in parts.items()}
        return tensors


class Hyperparameters:
    """The scalars, and where FedProx began: what stays while a task lasts, but for the count of steps."""

    def __init__(self, manifest: Manifest) -> None:
        self._scalars = {name: np.zeros((), np.float32) for name in manifest.step.scalars}
        proximal = graphs.PROXIMAL in self._scalars
        self._beginning: Vector = np.zeros(manifest.elements if proximal else 0, np.float32)
        self._descending = tuple(p for p in manifest.parameters if proximal and not p.statistic)

    def begin(self, vector: Vector, plan: Plan) -> None:
        """Take a task's."""
        if self._beginning.size:
            self._beginning[:] = vector
        for name, value in stock.scalars(plan).items():
            if name in self._scalars:
                self._scalars[name][...] = value

    def resume(self, saved: Saved) -> None:
        """Take the count of steps that `counted` showed."""
        for name, values in self.counted().items():
            values[:] = saved[name]

    def counted(self) -> dict[str, Vector]:
        """Give the count of steps, if the optimizer needs it."""
        return {"count": self._scalars[graphs.STEP].reshape(1)} if graphs.STEP in self._scalars else {}

    def next_step(self, learning_rate: float) -> None:
        """Count a step, and set its rate."""
        self._scalars[graphs.LEARNING_RATE][...] = learning_rate
        if graphs.STEP in self._scalars:
            self._scalars[graphs.STEP] += np.float32(1)

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Give views of all, as the training graph calls them."""
        beginning = stock.views(self._beginning, self._descending)
        return self._scalars | {graphs.beginning(name): part for name, part in beginning.items()}
