"""Operands have the memory layout of the case, and the same values."""

import numpy as np
import pytest

from specs.case.common import Memory
from specs.inputs import inputs, memory
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


@pytest.mark.parametrize(
    ("memory", "strides"),  # in elements, of an array of shape (2, 5, 4, 8)
    [("reversed", (-160, -32, -8, -1)), ("broadcast", (0, 32, 8, 1)), ("unaligned", (160, 32, 8, 1))],
)
def test_other_strides(memory: str, strides: tuple[int, ...]) -> None:
    case = attention_case(memory=memory, batch=2, q_len=5, num_heads=4, num_kv_heads=4, head_dim=8)
    for array in (inputs.operands(case, "float32")["query"], inputs.cotangent(case, "float32")):
        assert tuple(stride // 4 for stride in array.strides) == strides
        assert (array.ctypes.data % 64 == 4) or memory != "unaligned"


def test_memory_of_one_operand() -> None:
    case = attention_case(memory={"key": "strided", "cotangent": "transposed"})
    operands = inputs.operands(case, "float32")
    assert [name for name, array in operands.items() if not array.flags.c_contiguous] == ["key"]
    assert inputs.cotangent(case, "float32").flags.f_contiguous


def test_a_shared_tensor_is_one_array_also_in_its_copy() -> None:
    case = attention_case(memory="shared", gradient=False, q_len=5, kv_len=5, num_heads=2, num_kv_heads=2)
    for operands in (inputs.operands(case, "float32"), memory.copy_all(inputs.operands(case, "float32"))):
        assert operands["query"] is operands["key"] is operands["value"]
    assert not inputs.has_random_terms(case)


@pytest.mark.parametrize("layout", ["transposed", "strided", "reversed", "broadcast"])
def test_a_copy_has_the_strides_of_its_array(layout: Memory) -> None:
    array = memory.lay_out(np.arange(60.0).reshape(3, 4, 5), layout)
    copy = memory.copy(array)
    assert copy.strides == array.strides
    np.testing.assert_array_equal(copy, array)


# Exchanged values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided", "reversed", "unaligned"])
def test_exchanged_values_are_the_same_ones_in_other_places(layout: Memory) -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    array, other = (memory.copy(memory.lay_out(values, layout)) for _ in range(2))
    memory.exchange([array, other])
    assert not np.array_equal(array, values)
    assert not np.array_equal(array, other)
    np.testing.assert_array_equal(np.sort(array, axis=None), values.ravel())
    assert (array.flat[0], array.flat[-1]) == (0, 23)


@pytest.mark.parametrize(
    ("values", "exchanged"),
    [([1, 2], [2, 1]), ([1, 2, 3], [3, 1, 2]), ([1, 2, 3, 4], [1, 3, 2, 4]), ([1], [1]), ([], [])],
)
def test_a_few_values_are_exchanged_too(values: list[float], exchanged: list[float]) -> None:
    array = np.array(values)
    memory.exchange([array])
    assert array.tolist() == exchanged


def test_an_array_under_two_names_is_exchanged_once_and_one_that_is_broadcast_not_at_all() -> None:
    shared, repeated = np.arange(5), memory.copy(np.broadcast_to(np.arange(4), (3, 4)))
    memory.exchange([shared, shared, repeated])
    assert shared.tolist() == [0, 3, 1, 2, 4]
    assert repeated.tolist() == [[0, 1, 2, 3]] * 3
