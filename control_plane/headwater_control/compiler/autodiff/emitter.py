"""Writes the nodes of a derivative: the pen that every rule is handed."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from headwater_wire.graphs import PREFIX
from onnx import helper, numpy_helper

from headwater_control.compiler.autodiff.types import Array, Dims, TensorType

_COLUMNS = 32  # with fewer, a sum of rows costs less than what it takes to do without


class Emitter:
    """Collects nodes and constants. Names are made up from the operator and a counter, so they never collide."""

    def __init__(self, types: Mapping[str, TensorType], *, small_memory: bool = False) -> None:
        """Take what the forward graph's tensors are, and whether rules should rather be slow than take memory."""
        self.small_memory = small_memory
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._types = types
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._shapes: dict[str, str] = {}
        self._renamed: dict[str, str] = {}
        self._made: set[str] = set()
        self._count = 0

    # -- what is known of the forward graph

    def type(self, name: str) -> TensorType:
        """Tell what a tensor of the forward graph is."""
        return self._types[name]

    # -- nodes

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and name that. An input of "" is one left out."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> tuple[str, ...]:
        """Add a node with several outputs, and name them."""
        self._count += 1
        name = f"{PREFIX}{kind}.{self._count}"
        names = (name,) if outputs == 1 else tuple(f"{name}.{place}" for place in range(outputs))
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.nodes.append(helper.make_node(kind, list(inputs), list(names), name=name, **attributes))
        self._made.update(names)
        return names

    def constant(self, values: Array | Sequence[int] | int | float, dtype: Any = None) -> str:
        """Add a constant (once, however often it is asked for), and name it. Whole numbers are int64."""
        array = np.ascontiguousarray(values) if dtype is None else np.ascontiguousarray(values, dtype)
        array = array.reshape(np.shape(values))  # ascontiguousarray makes a scalar a vector
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"{PREFIX}constant.{len(self._constants)}"
            self.initializers.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def number(self, value: float, like: str) -> str:
        """Add a scalar of the dtype that a forward tensor has."""
        return self.constant(np.array(value, self.type(like).dtype))

    def rename(self, name: str, wanted: str) -> None:
        """Give a tensor that was made here the name of an output; one that has got a name already is copied."""
        if name in self._renamed or name not in self._made:
            name = self.op("Identity", name)
        self._renamed[name] = wanted

    def renamed(self) -> list[onnx.NodeProto]:
        """Give the nodes, with what was renamed under its new name."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name in self._renamed:
                        names[place] = self._renamed[name]
        return self.nodes

    # -- arithmetic, by its usual names

    def add(self, a: str, b: str) -> str:
        """a + b."""
        return self.op("Add", a, b)

    def sub(self, a: str, b: str) -> str:
        """a − b."""
        return self.op("Sub", a, b)

    def mul(self, a: str, b: str) -> str:
        """a · b."""
        return self.op("Mul", a, b)

    def div(self, a: str, b: str) -> str:
        """a / b."""
        return self.op("Div", a, b)

    def neg(self, a: str) -> str:
        """−a."""
        return self.op("Neg", a)

    def mask(self, condition: str, like: str) -> str:
        """1 where a condition holds and 0 elsewhere, in the dtype of a forward tensor."""
        return self.op("Cast", condition, to=helper.np_dtype_to_tensor_dtype(self.type(like).dtype))

    # -- shapes

    def shape(self, name: str) -> str:
        """Name an int64 tensor that holds the shape of a forward tensor: a constant where the shape is fixed."""
        kind = self.type(name)
        if kind.fixed:
            return self.constant(np.array(kind.dims, np.int64))
        if name not in self._shapes:
            self._shapes[name] = self.op("Shape", name)
        return self._shapes[name]

    def reshape_like(self, grad: str, name: str) -> str:
        """Give a gradient the shape of a forward tensor that has as many elements."""
        dims = self.type(name).dims
        if dims.count(None) <= 1:
            return self.reshape(grad, dims)
        return self.op("Reshape", grad, self.shape(name), allowzero=1)

    def reshape(self, grad: str, dims: Dims) -> str:
        """Give a gradient a shape in which one size at most is None: what is left."""
        sizes = np.array([-1 if size is None else size for size in dims], np.int64)
        return self.op("Reshape", grad, self.constant(sizes))

    def transpose(self, grad: str, order: Sequence[int]) -> str:
        """Permute the axes."""
        return self.op("Transpose", grad, perm=list(order))

    def unsqueeze(self, grad: str, axes: Sequence[int]) -> str:
        """Insert axes of size 1, counted in the result."""
        return self.op("Unsqueeze", grad, self.constant(np.array(axes, np.int64)))

    def reduce_sum(self, grad: str, axes: Sequence[int], *, keepdims: bool) -> str:
        """Sum over axes; over none: nothing is done."""
        if not axes:
            return grad
        return self.op("ReduceSum", grad, self.constant(np.array(axes, np.int64)), keepdims=int(keepdims))

    def unbroadcast(self, grad: str, shape: Dims, wanted: Dims, like: str = "") -> str:
        """Sum a gradient of one shape over what broadcasting repeated to get there from another.

        The numpy rules, as ONNX's "multidirectional broadcasting" repeats them. `like`: a forward tensor of its dtype.
        """
        extra = len(shape) - len(wanted)
        repeated = [extra + place for place, size in enumerate(wanted) if size == 1 and shape[extra + place] != 1]
        if like and extra and not repeated and None not in wanted:
            columns = prod(size for size in wanted if size is not None)
            if columns >= _COLUMNS and self.type(like).dtype == np.float32:
                return self.reshape(self._sum_of_rows(grad, columns), wanted)
        grad = self.reduce_sum(grad, repeated, keepdims=True)
        return self.reduce_sum(grad, range(extra), keepdims=False)

    def _sum_of_rows(self, grad: str, columns: int) -> str:
        """Multiply by a row of ones: a quarter of ReduceSum's time on hundreds of rows."""
        rows = self.reshape(grad, (None, columns))
        one = helper.make_tensor("one", onnx.TensorProto.FLOAT, [1], [1.0])
        ones = self.op("ConstantOfShape", self.op("Shape", rows, end=1), value=one)
        return self.op("MatMul", ones, rows)
