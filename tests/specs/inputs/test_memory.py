"""Operands have the memory layout of the case, and the same values."""

import numpy as np
import pytest

from specs.inputs import inputs
from tests.support.sample_cases import attention_case


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_changes_strides_and_no_value(dtype: str) -> None:
    plain, reversed_axes, spread = (
        inputs.operands(attention_case(memory=memory), dtype)["key"]
        for memory in ("contiguous", "transposed", "strided")
    )
    assert plain.flags.c_contiguous
    assert reversed_axes.flags.f_contiguous
    assert spread.strides[-1] == 2 * spread.itemsize
    for other in (reversed_axes, spread):
        np.testing.assert_array_equal(other.astype(float), plain.astype(float))
        assert not other.flags.writeable


@pytest.mark.parametrize("layout", ["bshd", "bhsd", "sbhd", "bsd"])
@pytest.mark.parametrize("data", ["normal", "ramp", "equal", "cancelling"])
def test_memory_is_contiguous_in_every_layout(layout: str, data: str) -> None:
    operands = inputs.operands(
        attention_case(layout=layout, data=data, num_heads=2, num_kv_heads=2, head_dim=1), "float32"
    )
    assert [name for name, array in operands.items() if not array.flags.c_contiguous] == []
