"""How far two machines' parameters are apart."""

import numpy as np
import pytest
from headwater_wire.ids import Digest, ModelName
from headwater_wire.manifest import Loss, Manifest, Parameter, Step, TensorSpec
from headwater_wire.messages import Blob

from tests.aarch64.comparison import differences

_BLOB = Blob(Digest("0" * 64), 0)
_MODEL = Manifest(
    model=ModelName("two"),
    graph=_BLOB,
    inputs=(TensorSpec("x", "float32", (2,)),),
    outputs=(TensorSpec("y", "float32", (2,)),),
    loss=Loss("mse", "y", None),
    parameters=(Parameter("weight", (2, 2), 0), Parameter("bias", (2,), 4)),
    frozen=(),
    step=Step(_BLOB, _BLOB, _BLOB, _BLOB, None, "sgd", (), ()),
)


@pytest.mark.parametrize(("apart", "agreed"), [(0.0, True), (1.9e-5, True), (2.1e-5, False), (float("nan"), False)])
def test_a_parameter_is_measured_by_its_own_largest_number(apart: float, agreed: bool) -> None:
    """1e-5 is allowed of a parameter's largest magnitude, not of the number that differs, nor of other parameters."""
    one = np.array([1000, 1, 1, 1, -2, 0], np.float32)
    other = one + np.array([0, 0, 0, 0, 0, apart], np.float32)
    weight, bias = differences(_MODEL, one, other)
    assert weight.small
    assert bias.small is agreed


def test_zeros_agree() -> None:
    """A parameter that is zero on both machines is no difference; one that is on one of them alone is a whole one."""
    zero = np.zeros(6, np.float32)
    assert [one.relative for one in differences(_MODEL, zero, zero)] == [0, 0]
    assert [one.relative for one in differences(_MODEL, zero, zero + np.float32(1e-9))] == [1, 1]
