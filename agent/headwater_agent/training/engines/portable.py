"""Training on stock ONNX Runtime: the control plane has differentiated the model, a step runs one of its graphs."""

import numpy as np
import onnxruntime
from headwater_wire import graphs
from headwater_wire.errors import WireError
from headwater_wire.messages import Plan
from headwater_wire.tensors import read_tensors

from headwater_agent.training.engine import Batch, Bundle, Score, Session, State, Vector
from headwater_agent.training.engines import stock
from headwater_agent.training.engines.in_pieces import InPieces, pieces
from headwater_agent.training.engines.whole_batch import WholeBatch
from headwater_agent.training.errors import NotPossible

_SEED_BITS = (1 << 31) - 1


class PortableEngine:
    """The bundle's graphs, of standard operators only, on whatever runtime is here."""

    def __init__(self, piece: int | None = None) -> None:
        """Take how many examples are in memory at once; None: the whole batch, which is faster."""
        self._piece = piece

    def version(self) -> str:
        """Name what computes."""
        runs_on = ", ".join(stock.providers(onnxruntime.get_available_providers()))
        return f"portable, {self._piece} at once, ONNX Runtime {onnxruntime.__version__} on {runs_on}"

    def open(self, bundle: Bundle, threads: int) -> Session:
        """Load the graphs; raise `NotPossible` if this runtime can't."""
        step = bundle.manifest.step
        try:
            constants = read_tensors(bundle.path(step.constants)) if step.constants else {}
            return _PortableSession(bundle, stock.Runtime(threads, constants, spin=self._piece is None), self._piece)
        except (OSError, WireError) as error:
            raise NotPossible(f"the model's constants can't be read: {error}") from error
        except NotPossible:
            raise
        except Exception as error:  # the runtime raises a dozen kinds of its own, without a common parent
            raise NotPossible(
                f"this device's ONNX Runtime {onnxruntime.__version__} can't load the model's training "
                f"graph: {' '.join(str(error).split())[:500]}"
            ) from error


class _PortableSession:
    def __init__(self, bundle: Bundle, runtime: stock.Runtime, piece: int | None) -> None:
        step, self._runtime = bundle.manifest.step, runtime
        self._piece = None if bundle.manifest.coupled else piece
        self._steps: WholeBatch | InPieces
        if piece:
            graphs_of_pieces = bundle.path(step.accumulate), bundle.path(step.update)
            self._steps = InPieces(bundle.manifest, runtime, *graphs_of_pieces, piece)
        else:
            self._steps = WholeBatch(bundle.manifest, runtime, bundle.path(step.train))
        self._evaluation = runtime.session(str(bundle.path(step.evaluation)))
        self._scores = [output.name for output in self._evaluation.get_outputs()]
        self._fed = [value.name for value in self._evaluation.get_inputs()]

    def load(self, vector: Vector, plan: Plan) -> None:
        self._steps.begin(vector, plan)
        onnxruntime.set_seed(plan.seed & _SEED_BITS)

    def train_step(self, batch: Batch, learning_rate: float) -> float:
        return self._steps.step(batch, learning_rate)

    def evaluate(self, batch: Batch) -> Score:
        parameters = self._steps.state.parameters()
        examples = len(next(iter(batch.values())))
        loss = weights = correct = error = 0.0
        for piece in pieces(batch, self._piece):
            feed = {
                name: parameters[name] if name in parameters else np.ascontiguousarray(piece[name])
                for name in self._fed
            }
            found = dict(zip(self._scores, self._evaluation.run(self._scores, feed), strict=True))
            loss += float(found[graphs.LOSS]) * float(found[graphs.WEIGHT])
            weights += float(found[graphs.WEIGHT])
            correct += float(found.get(graphs.CORRECT, 0.0))
            error += float(found.get(graphs.ABSOLUTE_ERROR, 0.0))
        return Score(loss / weights * examples, correct, error)

    def vector(self) -> Vector:
        return self._steps.state.vector.copy()

    def state(self) -> State:
        return self._steps.state.tensors() | self._steps.given.counted()

    def restore(self, state: State) -> None:
        self._steps.resume(state)

    def close(self) -> None:
        del self._steps, self._evaluation, self._runtime
