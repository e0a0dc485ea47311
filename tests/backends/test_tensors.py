"""Arrays survive the conversion to tensors and back bit for bit."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from backends.discovery import registry
from specs.arithmetic.formats import DTYPES, Array
from specs.case.case import Case
from specs.case.common import Memory
from specs.case.einsum import EinsumConfig
from specs.inputs.memory import lay_out
from tests.support.checks import check_of, framework

SHAPES = [(), (0,), (3, 0, 2), (1,), (7,), (2, 3, 4)]


def critical_values(dtype: str, shape: tuple[int, ...]) -> Array:
    """Values that a conversion might change: signs of zero, subnormal numbers, infinities, extremes."""
    info = DTYPES[dtype]
    values: Array
    if info.format is not None:
        f = info.format
        real = [
            -0.0,
            f.smallest,
            -f.smallest,
            f.tiny,
            f.max,
            -f.max,
            np.inf,
            -np.inf,
            np.nan,
            1.0,
            1 + 2 * f.unit_roundoff,
        ]
        values = np.array(real).astype(info.numpy)
        if info.kind == "complex":
            values = (values.real + 0j).astype(info.numpy)
            values.imag = values.real[::-1]
    elif info.kind == "boolean":
        values = np.array([True, False, True])
    else:
        limits = np.iinfo(info.numpy)
        values = np.array([limits.min, limits.max, 0, 1], info.numpy)
    return np.resize(values, shape).astype(info.numpy)


def bits(array: Array) -> bytes:
    """The bytes, with the same NaN everywhere: its payload need not survive."""
    if array.dtype.kind not in "biu":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return array.tobytes()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", registry.names())
def test_round_trip(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    backend = framework(name)
    array = critical_values(dtype, shape)
    array.setflags(write=False)
    for device in backend.devices():
        if dtype not in backend.dtypes(device):
            pytest.skip(f"{name} has no {dtype} on {device}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            back = backend.to_numpy(backend.from_numpy(array, device))
        assert isinstance(back, np.ndarray)
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert bits(back) == bits(array)


@pytest.mark.parametrize("name", registry.names())
def test_any_memory_layout(name: str) -> None:
    backend = framework(name)
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for view in (array.T, array[:, ::-1], array[..., 1:3], np.broadcast_to(array[0, 0], (5, 4))):
        np.testing.assert_array_equal(backend.to_numpy(backend.from_numpy(view, "cpu")), view, strict=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("memory", ["contiguous", "transposed", "strided"])
def test_tensors_lie_in_memory_as_their_arrays_do_where_they_have_strides(memory: Memory, dtype: str) -> None:
    array = lay_out(critical_values(dtype, (2, 3, 4)), memory)
    elements = tuple(stride // array.itemsize for stride in array.strides)
    if dtype in framework("numpy").dtypes("cpu"):
        assert framework("numpy").from_numpy(array, "cpu").strides == array.strides
    assert framework("torch").from_numpy(array, "cpu").stride() == elements


def test_an_axis_of_one_element_has_the_stride_of_contiguous_memory() -> None:
    """NumPy allows any stride there; torch's fused kernels refuse any other."""
    column = np.ones((1, 4), np.float32).T
    assert column.flags.c_contiguous
    assert column.strides[-1] != column.itemsize
    assert framework("torch").from_numpy(column, "cpu").stride() == (1, 1)


@pytest.mark.parametrize("name", registry.names())
def test_operands_keep_their_order(name: str) -> None:
    """Twelve operands in every mode: compilers sort mappings, and operand_10 sorts before operand_2."""
    backend = framework(name)
    config = EinsumConfig(equation=",".join("abcdefghijkl") + "->abcdefghijkl", shapes=[[1]] * 11 + [[2]])
    case = Case("tests/tensors::order", "order", Path(__file__), 1, config)
    operands = {f"operand_{i}": np.ones(2 if i == 11 else 1) for i in range(12)}
    for mode in backend.default_modes:
        assert backend.run(check_of(case, "einsum", mode), operands).shape == (1,) * 11 + (2,)


@pytest.mark.parametrize("name", registry.names())
def test_a_tensor_does_not_follow_its_array(name: str) -> None:
    """Backends share the operands of a case, so one must not change the tensors of another."""
    backend = framework(name)
    array = np.ones((64, 64))
    tensor = backend.from_numpy(array, "cpu")
    array[...] = 2
    assert (backend.to_numpy(tensor) == 1).all()
