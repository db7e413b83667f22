"""Layers of random models: each draws its attributes, and adds a node or a few where it fits."""

from math import prod

import numpy as np

from tests.fuzzing.nets import Layer, Net, Value

_SMOOTH = {
    "Relu": 7, "Tanh": 7, "Sigmoid": 7, "Softplus": 7, "Softsign": 7, "Elu": 7, "Selu": 7, "LeakyRelu": 7,
    "HardSigmoid": 7, "Identity": 7, "Neg": 7, "Abs": 7, "Sin": 7, "Cos": 7, "Erf": 9, "ThresholdedRelu": 10,
    "Celu": 12, "HardSwish": 14, "Mish": 18, "Gelu": 20,
}  # fmt: skip
_REDUCTIONS = {
    "ReduceMean": 18, "ReduceSum": 13, "ReduceMax": 18, "ReduceMin": 18, "ReduceL1": 18, "ReduceL2": 18,
    "ReduceLogSumExp": 18, "ReduceSumSquare": 18, "ReduceProd": 18,
}  # fmt: skip


def activation(net: Net, v: Value, pool: list[Value]) -> Value:
    """Apply a function to each number."""
    kind = net.r.choice([kind for kind, since in _SMOOTH.items() if since <= net.opset])
    return net.op(kind, [v.name], v.dims)


def narrow(net: Net, v: Value, pool: list[Value]) -> Value:
    """Apply a function that is only defined, or only tame, for some numbers."""
    kind = net.r.choice(("Exp", "Sqrt", "Log", "Reciprocal"))
    return net.op(kind, [(net.bounded(v) if kind == "Exp" else net.positive(v)).name], v.dims)


def clip(net: Net, v: Value, pool: list[Value]) -> Value:
    """Keep numbers within bounds."""
    if net.opset < 11:
        return net.op("Clip", [v.name], v.dims, min=-0.8, max=1.5)
    bounds = net.r.choice((["", net.constant(0.9)], [net.constant(-0.7)], [net.constant(-0.7), net.constant(0.9)]))
    return net.op("Clip", [v.name, *bounds], v.dims)


def dropout(net: Net, v: Value, pool: list[Value]) -> Value:
    """Pass everything on."""
    if net.opset < 12:
        return net.op("Dropout", [v.name], v.dims, ratio=0.3)
    return net.op("Dropout", [v.name, *([net.constant(0.3)] if net.r.random() < 0.5 else [])], v.dims)


def softmax(net: Net, v: Value, pool: list[Value]) -> Value:
    """Make shares along an axis; before opset 13, along all axes from one on."""
    axis = net.axis(v) if net.opset >= 13 else net.r.randint(1, v.rank - 1)
    return net.op(net.r.choice(("Softmax", "LogSoftmax")), [v.name], v.dims, axis=axis)


def combine(net: Net, v: Value, pool: list[Value]) -> Value:
    """Join with a tensor of the same shape, or with a parameter that is broadcast."""
    same = [other for other in pool if other.dims == v.dims]
    if net.r.random() < 0.5:
        other = net.r.choice(same).name if same else v.name
    else:
        shape = [size if net.r.random() < 0.6 else 1 for size in v.dims]
        other = net.weight(*shape[net.r.randint(0, len(shape)) :])
    kinds = ("Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum") if net.opset >= 8 else ("Add", "Sub", "Mul")
    kind = net.r.choice(kinds)  # the others did not broadcast before opset 8
    return net.op(kind, [v.name, other] if net.r.random() < 0.5 else [other, v.name], v.dims)


def divide(net: Net, v: Value, pool: list[Value]) -> Value:
    """Divide by what is positive, or raise it to a power."""
    if net.r.random() < 0.5:
        return net.op("Div", [v.name, net.positive(v).name], v.dims)
    return net.op("Pow", [net.positive(v).name, net.constant(net.r.choice((2.0, 0.5, -1.0, 1.7)))], v.dims)


def slopes(net: Net, v: Value, pool: list[Value]) -> Value:
    """Apply PRelu with a slope for each channel."""
    return net.op("PRelu", [v.name, net.weight(v.dims[0], *(1 for _ in v.dims[1:]))], v.dims)


def where(net: Net, v: Value, pool: list[Value]) -> Value | None:
    """Choose between two by the sign of the first."""
    if net.opset < 9:
        return None
    sign = net.op("Greater", [v.name, net.constant(0.0)], v.dims)
    return net.op("Where", [sign.name, net.bounded(v).name, v.name], v.dims)


def dense(net: Net, v: Value, pool: list[Value]) -> Value:
    """Multiply the last axis by a matrix."""
    size, made = v.dims[-1], net.r.randint(1, 5)
    if len(v.dims) > 1 or net.r.random() < 0.3:
        product = net.op("MatMul", [v.name, net.weight(size, made, fan=size)], [*v.dims[:-1], made])
        return net.op("Add", [product.name, net.weight(made)], product.dims)
    turned = net.r.random() < 0.5
    matrix = net.weight(*((made, size) if turned else (size, made)), fan=size)
    return net.op("Gemm", [v.name, matrix, net.weight(made)], [made], transB=int(turned), alpha=0.7, beta=1.3)


def attention(net: Net, v: Value, pool: list[Value]) -> Value | None:
    """Multiply a tensor by itself turned round."""
    if len(v.dims) != 2:
        return None
    turned = net.op("Transpose", [v.name], v.dims[::-1], perm=[0, 2, 1])
    pairs = net.op("MatMul", [v.name, turned.name], [v.dims[0], v.dims[0]])
    if net.opset < 12 or net.r.random() < 0.5:
        return net.bounded(pairs)
    return net.op("Einsum", [net.bounded(pairs).name, v.name], v.dims, equation="bij,bjk->bik")


def convolution(net: Net, v: Value, pool: list[Value]) -> Value | None:
    """Convolve an image or a sequence."""
    if len(v.dims) not in (2, 3):
        return None
    channels, spatial = v.dims[0], v.dims[1:]
    group = net.r.choice([group for group in (1, 2, channels) if channels % group == 0])
    made = group * net.r.randint(1, 2)
    kernel, stride, dilation = ([net.r.randint(1, most) for _ in spatial] for most in (3, 2, 2))
    pads = [net.r.randint(0, 1) for _ in range(2 * len(spatial))]
    reach = [dilation[i] * (kernel[i] - 1) + 1 for i in range(len(spatial))]
    room = [spatial[i] + pads[i] + pads[i + len(spatial)] - reach[i] for i in range(len(spatial))]
    if min(room) < 0:
        return None
    dims = [made, *(room[i] // stride[i] + 1 for i in range(len(spatial)))]
    taken = channels // group
    inputs = [v.name, net.weight(made, taken, *kernel, fan=taken * prod(kernel))]
    inputs += [net.weight(made)] if net.r.random() < 0.6 else []
    return net.op("Conv", inputs, dims, group=group, strides=stride, dilations=dilation, pads=pads, kernel_shape=kernel)


def transposed(net: Net, v: Value, pool: list[Value]) -> Value | None:
    """Convolve backwards."""
    if len(v.dims) not in (2, 3):
        return None
    channels, spatial = v.dims[0], v.dims[1:]
    kernel, stride = [net.r.randint(1, 3) for _ in spatial], [net.r.randint(1, 2) for _ in spatial]
    dims = [2, *((spatial[i] - 1) * stride[i] + kernel[i] for i in range(len(spatial)))]
    kernels = net.weight(channels, 2, *kernel, fan=channels * prod(kernel))
    return net.op("ConvTranspose", [v.name, kernels], dims, strides=stride, kernel_shape=kernel)


def pool_(net: Net, v: Value, pool: list[Value]) -> Value | None:
    """Take the largest, the mean or the norm of each window, or of all."""
    if len(v.dims) not in (2, 3):
        return None
    kind = net.r.choice(("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool"))
    if kind.startswith("Global"):
        return net.op(kind, [v.name], [v.dims[0], *(1 for _ in v.dims[1:])])
    spatial = v.dims[1:]
    kernel, stride = [net.r.randint(1, min(3, size)) for size in spatial], [net.r.randint(1, 2) for _ in spatial]
    dims = [v.dims[0], *((size - kernel[i]) // stride[i] + 1 for i, size in enumerate(spatial))]
    more = {"count_include_pad": net.r.randint(0, 1)} if kind == "AveragePool" else {}
    return net.op(kind, [v.name], dims, kernel_shape=kernel, strides=stride, **more)


def norm(net: Net, v: Value, pool: list[Value]) -> Value | None:
    """Normalize by batch, instance, group, layer, neighbours or length."""
    channels = v.dims[0]
    scale, shift = net.weight(channels), net.weight(channels)
    kinds = ["BatchNormalization"] if net.opset >= 9 else []
    kinds += ["LpNormalization"] + (["LayerNormalization"] if net.opset >= 17 else [])
    kinds += ["InstanceNormalization"] if len(v.dims) >= 2 else []
    kinds += ["GroupNormalization"] if net.opset >= 21 and len(v.dims) >= 2 else []
    kinds += ["LRN"] if len(v.dims) == 3 else []
    match kind := net.r.choice(kinds):
        case "BatchNormalization":
            running = [net.weight(channels), net.constant(net.numbers.uniform(0.5, 2, channels))]
            return net.op(kind, [v.name, scale, shift, *running], v.dims)
        case "LayerNormalization":
            size = v.dims[-1]
            return net.op(kind, [v.name, net.weight(size), net.weight(size)], v.dims, axis=-1, epsilon=1e-2)
        case "InstanceNormalization":
            return net.op(kind, [v.name, scale, shift], v.dims, epsilon=1e-2)
        case "GroupNormalization":
            groups = net.r.choice([groups for groups in (1, 2, channels) if channels % groups == 0])
            return net.op(kind, [v.name, scale, shift], v.dims, num_groups=groups, epsilon=1e-2)
        case "LRN":
            return net.op(kind, [v.name], v.dims, size=net.r.choice((1, 3, 5)))
        case _:
            return net.op(
                kind, [net.positive(v).name], v.dims, axis=net.r.randint(1, v.rank - 1), p=net.r.choice((1, 2))
            )


def reduce(net: Net, v: Value, pool: list[Value]) -> Value | None:
    """Take the sum, mean, largest … along an axis."""
    if len(v.dims) < 2:
        return None
    kind, keep = net.r.choice(list(_REDUCTIONS)), net.r.randint(0, 1)
    axis = net.axis(v)
    place = axis % v.rank - 1
    dims = [*v.dims[:place], *([1] if keep else []), *v.dims[place + 1 :]]
    return net.along(kind, v, [axis], dims, _REDUCTIONS[kind], keepdims=keep)


def reshape(net: Net, v: Value, pool: list[Value]) -> Value:
    """Lay the numbers out otherwise."""
    match net.r.randrange(5):
        case 0:
            return net.flat(v)
        case 1 if len(v.dims) > 1:
            order = list(range(1, v.rank))
            net.r.shuffle(order)
            return net.op("Transpose", [v.name], [v.dims[place - 1] for place in order], perm=[0, *order])
        case 2 if len(v.dims) < 4:
            place = net.r.randint(1, v.rank)
            return net.along("Unsqueeze", v, [place], [*v.dims[: place - 1], 1, *v.dims[place - 1 :]], 13)
        case 3 if 1 in v.dims and len(v.dims) > 1:
            place = v.dims.index(1)
            return net.along("Squeeze", v, [place + 1], [*v.dims[:place], *v.dims[place + 1 :]], 13)
        case _ if len(v.dims) > 1:
            merged = [v.dims[0] * v.dims[1], *v.dims[2:]]
            return net.op("Reshape", [v.name, net.integers([0, -1, *merged[1:]])], merged)
        case _:
            return net.flat(v)


def cut(net: Net, v: Value, pool: list[Value]) -> Value:
    """Take a part of an axis: a slice, a pick, a half, the largest."""
    axis = net.axis(v)
    place = axis % v.rank - 1
    size = v.dims[place]

    def sized(count: int) -> list[int]:
        return [*v.dims[:place], count, *v.dims[place + 1 :]]

    match net.r.randrange(4):
        case 0 if net.opset >= 10:
            start, step = net.r.randrange(size), net.r.choice((1, 1, 2))
            bounds = ([start], [2**31 - 1], [axis], [step])
            inputs = [v.name, *(net.integers(bound) for bound in bounds)]
            return net.op("Slice", inputs, sized(-(-(size - start) // step)))
        case 1 if size > 1:
            sizes = [1, size - 1]
            if net.opset < 13:
                names = net.node("Split", [v.name], 2, axis=axis, split=sizes)
            else:
                names = net.node("Split", [v.name, net.integers(sizes)], 2, axis=axis)
            return Value(names[1], tuple(sized(size - 1)))
        case 2 if net.opset >= 11:
            count = net.r.randint(1, size)
            names = net.node("TopK", [v.name, net.integers([count])], 2, axis=axis)
            return Value(names[0], tuple(sized(count)))
        case _:
            low = -size if net.opset >= 11 else 0
            picked = [net.r.randrange(low, size) for _ in range(net.r.randint(1, 3))]
            return net.op("Gather", [v.name, net.integers(picked)], sized(len(picked)), axis=axis)


def spread(net: Net, v: Value, pool: list[Value]) -> Value | None:
    """Make more of it: join, repeat, pad, widen, sum up along an axis."""
    axis = net.axis(v)
    place = axis % v.rank - 1

    def sized(count: int) -> list[int]:
        return [*v.dims[:place], count, *v.dims[place + 1 :]]

    match net.r.randrange(6):
        case 0:
            fitting = [
                o for o in pool if len(o.dims) == len(v.dims) and sized(0) == [*o.dims[:place], 0, *o.dims[place + 1 :]]
            ]
            other = net.r.choice(fitting) if fitting else v
            return net.op("Concat", [v.name, other.name], sized(v.dims[place] + other.dims[place]), axis=axis)
        case 1:
            counts = [1, *(2 if at == place else 1 for at in range(len(v.dims)))]
            return net.op("Tile", [v.name, net.integers(counts)], sized(2 * v.dims[place]))
        case 2 if net.opset >= 11:
            before = [0, *(int(at == place) for at in range(len(v.dims)))]
            mode = net.r.choice(("constant", "edge", "reflect") if v.dims[place] > 1 else ("constant", "edge"))
            inputs = [v.name, net.integers([*before, *before])]
            return net.op("Pad", inputs, sized(v.dims[place] + 2), mode=mode)
        case 3 if net.opset >= 8 and v.dims[place] == 1:
            return net.op("Expand", [v.name, net.integers([1, *sized(3)])], sized(3))
        case 4 if net.opset >= 11:
            return net.op("CumSum", [v.name, net.constant(axis, np.int64)], v.dims, reverse=net.r.randint(0, 1))
        case _ if net.opset >= 13 and len(v.dims) == 3:
            scales = net.constant([1.0, 1.0, 2.0, 2.0])
            dims = [v.dims[0], 2 * v.dims[1], 2 * v.dims[2]]
            return net.op("Resize", [v.name, "", scales], dims, mode=net.r.choice(("nearest", "linear")))
        case _:
            return None


def blocks(net: Net, v: Value, pool: list[Value]) -> Value | None:
    """Move channels into places, or back."""
    if len(v.dims) != 3:
        return None
    channels, high, wide = v.dims
    if channels % 4 == 0:
        return net.op("DepthToSpace", [v.name], [channels // 4, 2 * high, 2 * wide], blocksize=2)
    if high % 2 == 0 and wide % 2 == 0:
        return net.op("SpaceToDepth", [v.name], [4 * channels, high // 2, wide // 2], blocksize=2)
    return None


def recurrent(net: Net, v: Value, pool: list[Value]) -> Value | None:
    """Run along a sequence."""
    if len(v.dims) != 2:
        return None
    kind, hidden, size = net.r.choice(("LSTM", "GRU", "RNN")), net.r.randint(1, 3), v.dims[1]
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    ways = net.r.choice((1, 2))
    inputs = [
        net.op("Transpose", [v.name], v.dims, perm=[1, 0, 2]).name,
        net.weight(ways, gates * hidden, size, fan=size),
        net.weight(ways, gates * hidden, hidden, fan=hidden),
    ]
    inputs += [net.weight(ways, 2 * gates * hidden)] if net.r.random() < 0.5 else []
    more = {"linear_before_reset": net.r.randint(0, 1)} if kind == "GRU" else {}
    direction = "bidirectional" if ways == 2 else net.r.choice(("forward", "reverse"))
    (states,) = net.node(kind, inputs, hidden_size=hidden, direction=direction, **more)
    (turned,) = net.node("Transpose", [states], perm=[2, 0, 1, 3])
    return Value(turned, (v.dims[0], ways, hidden))


LAYERS: tuple[Layer, ...] = (
    activation, activation, narrow, clip, dropout, softmax, combine, combine, divide, slopes, where, dense, dense,
    attention, convolution, convolution, transposed, pool_, norm, norm, reduce, reduce, reshape, cut, cut, spread,
    blocks, recurrent,
)  # fmt: skip
