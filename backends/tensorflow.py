"""TensorFlow on the CPU and on GPUs, and Keras unless that runs on another framework."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import numpy as np
from packaging.version import Version

from backends.attention.by_hand import Einsum, Matmul
from backends.attention.keras import DEFAULT_HOST, VARIABLE
from backends.base import AnyComputation, Computation, Declaration, Pullback
from backends.hosts.keras import SCALED_QUERIES, KerasHost
from backends.parts.dialect import Dialect
from backends.parts.framework import INSTALLED, Framework
from backends.parts.mode import COMPILED, EAGER, Mode
from backends.parts.primitives import Operands, Primitives, Tensor
from specs.arithmetic.formats import DTYPES, Array
from specs.case.attention import AttentionConfig
from specs.case.einsum import EinsumConfig
from specs.verdict.check import Check
from specs.verdict.place import Share

MODES = {
    "eager": EAGER,
    "jit": Mode("graph"),  # tf.function
    "xla": COMPILED,  # the same with jit_compile
    "dynamic": Mode("graph", any_sizes=True),
}
# For any other type 2.21 answers "No OpKernel was registered to support Op 'Einsum'", XLA too, whatever the equation
EINSUM_KERNELS = {"bfloat16", "complex128", "complex64", "float16", "float32", "float64", "int32", "int64"}
# Without AVX-512 a CPU computes bfloat16 with Eigen instead of oneDNN (IsDataTypeSupportedByOneDNNOnThisCPU in
# https://github.com/tensorflow/tensorflow/blob/v2.21.0/tensorflow/core/graph/mkl_graph_util.h)
TRUNCATING = ("keras", "matmul", "keras-dense")
EIGEN_BFLOAT16 = tuple(
    Declaration(
        {"accumulate": "bfloat16", "truncates": implementation in TRUNCATING},
        implementation=implementation,
        device="cpu",
        mode=mode,
        dtype="bfloat16",
        reason="Eigen's CPU kernels sum in bfloat16 (Einsum), or in float32 and truncate the sum (MatMul)",
    )
    for mode in MODES
    if MODES[mode].execution != "compiled"
    for implementation in ("einsum", *TRUNCATING)
)


def xla_seconds(check: Check) -> float:
    """CPU seconds of a check that XLA compiles: a gradient is a larger program."""
    return {"einsum": 0.15, "attention": 0.3}[check.case.kind] * (1.0 if check.direction == "forward" else 2.0)


def dynamic_seconds(check: Check) -> float:
    """CPU seconds of an einsum as a graph for any sizes."""
    return 0.03 if check.direction == "forward" else 0.05


class TensorFlow(KerasHost):
    """TensorFlow; its graphs are those of tf.function, and its compiler is XLA."""

    name = "tensorflow"
    distribution = "tensorflow"
    related = ("ml_dtypes",)
    formulations = {"einsum": Einsum, "matmul": Matmul}
    implementations = {"einsum": ("einsum",), "attention": tuple(formulations)}
    modes = MODES
    default_modes = ("eager", "jit")
    usual_mode = "jit"
    cheap_modes = frozenset()
    costs = {
        ("eager", "forward"): 10.0,
        ("eager", "grad"): 15.0,
        ("jit", "forward"): 30.0,
        ("jit", "grad"): 50.0,
        ("xla", "forward"): 90.0,
        ("xla", "grad"): 150.0,
    }
    shares = {
        "xla": Share({"standard": 20.0, "full": 300.0}, {"standard": 0.025, "full": 0.25}, xla_seconds),
        "dynamic": Share({"standard": 8.0, "full": 60.0}, {"standard": 0.01, "full": 0.05}, dynamic_seconds),
    }
    conjugates = True  # https://github.com/tensorflow/tensorflow/issues/3348
    declarations = (
        Declaration(
            {"accumulate": "float16", "softmax": "float16"},
            device="cpu",
            dtype="float16",
            reason="Eigen's CPU kernels multiply, sum and exponentiate half as half",
        ),
        Declaration(
            {"accumulate": "bfloat16"},
            kind="einsum",
            device="cpu",
            implementation="keras",
            mode="xla",
            dtype="bfloat16",
            reason="Keras asks for a product of bfloat16 matrices, which XLA's CPU code sums as they are",
        ),
        *(
            Declaration(
                {"softmax": "bfloat16"},
                kind="attention",
                implementation=by_hand,
                device="cpu",
                dtype="bfloat16",
                reason="tf.nn.softmax shifts, exponentiates, sums and divides in the dtype of its argument",
            )
            for by_hand in ("einsum", "matmul", "keras-dense")
        ),
        *SCALED_QUERIES,
        *(
            Declaration(
                {"flushes": True}, device="cpu", dtype=dtype, reason="TensorFlow's CPU threads flush subnormals"
            )
            for dtype in ("float64", "float32", "bfloat16", "complex64", "complex128")
        ),
    )

    dialect = Dialect(
        imports=("numpy as np", "tensorflow as tf"),
        tensor="tf.constant({array})",
        dtype="result.dtype.name",
        array="result.numpy()",
        bfloat16="tf.bfloat16.as_numpy_dtype",
        spellings={
            "tensorflow.DType": lambda dtype: f"tf.{dtype.name}",
            "tensorflow.TensorShape": lambda shape: str(tuple(shape)),
        },
    )

    def __init__(self, framework: Framework = INSTALLED) -> None:
        super().__init__(framework)
        os.environ.setdefault(VARIABLE, DEFAULT_HOST)  # now: importing tensorflow can import keras
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # importing JAX sets 1
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        with _suppress_stderr() if self.quiet else nullcontext():
            tf = self.tf = framework["tensorflow"]
            gpus = tf.config.list_physical_devices("GPU")
        self.device_names = {"cpu": "/CPU:0"}
        for i, gpu in enumerate(gpus):
            self.device_names[f"cuda:{i}"] = f"/GPU:{i}"
            # Several workers share it; by default TensorFlow takes all of its memory at once
            tf.config.experimental.set_memory_growth(gpu, True)
        self.primitives = Primitives(
            einsum=tf.einsum,
            permute_dims=tf.transpose,
            reshape=tf.reshape,
            broadcast_to=tf.broadcast_to,
            concat=tf.concat,
            repeat=tf.repeat,
            where=tf.where,
            any=lambda x, axis: tf.reduce_any(x, axis, keepdims=True),
            softmax=tf.nn.softmax,
            tanh=tf.tanh,
            arange=lambda length, like: tf.range(length),
            lowest=lambda like: float(like.dtype.min),
            framework=framework,
        )

    def devices(self) -> list[str]:
        return list(self.device_names)

    def dtypes(self, device: str) -> frozenset[str]:
        return frozenset(DTYPES)

    def unsupported(self, check: Check) -> str | None:
        config = check.case.config
        if isinstance(config, EinsumConfig):
            if check.implementation == "einsum" and config.asks_for_dtype:
                return "tf.einsum has no argument for the result's dtype"
            if check.implementation == "einsum" and check.dtype not in EINSUM_KERNELS:
                return f"TensorFlow has no Einsum kernel for {check.dtype}"
            if check.implementation == "keras" and check.dtype == "bool":
                return "TensorFlow has neither an Einsum nor a MatMul kernel for bool, which Keras would need"
        elif self.mode_of(check).any_sizes:
            return "attention, by hand and in Keras, is written with sizes, which a graph for any sizes does not have"
        elif check.implementation == "matmul" and self._reads_beyond_a_weight(config, check.dtype):
            return "oneDNN's matmul of (batch, 1, n, d) and (1, d, d) reads and writes beyond them (tensorflow#123109)"
        return super().unsupported(check)

    def _reads_beyond_a_weight(self, config: AttentionConfig, dtype: str) -> bool:
        """Whether a head's projection is a product that corrupts memory; docs/findings/tensorflow_matmul.py."""
        per_head = config.projections is not None and config.projections.kind == "per_head"
        one_head = 1 in (config.num_heads, config.num_kv_heads)
        affected = Version(self.tf.__version__) < Version("2.22") and os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"
        return per_head and one_head and config.batch > 1 and dtype in ("float32", "bfloat16") and affected

    @classmethod
    def rows(cls) -> tuple[Declaration, ...]:
        return cls.declarations if has_avx512() else cls.declarations + EIGEN_BFLOAT16

    def settings(self) -> dict[str, Any]:
        config = self.tf.config
        return {
            "tensor_float_32": config.experimental.tensor_float_32_execution_enabled(),
            "op_determinism": os.environ.get("TF_DETERMINISTIC_OPS"),
            "intra_op_threads": config.threading.get_intra_op_parallelism_threads(),
            "inter_op_threads": config.threading.get_inter_op_parallelism_threads(),
            "TF_NUM_INTRAOP_THREADS": os.environ.get("TF_NUM_INTRAOP_THREADS"),
            "TF_NUM_INTEROP_THREADS": os.environ.get("TF_NUM_INTEROP_THREADS"),
            "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
            "ONEDNN_DEFAULT_FPMATH_MODE": os.environ.get("ONEDNN_DEFAULT_FPMATH_MODE"),
            "TF_XLA_FLAGS": os.environ.get("TF_XLA_FLAGS"),
            "XLA_FLAGS": os.environ.get("XLA_FLAGS"),
            "NVIDIA_TF32_OVERRIDE": os.environ.get("NVIDIA_TF32_OVERRIDE"),
        }

    def from_numpy(self, array: Array, device: str) -> Tensor:
        with self.on(device):
            return self.tf.constant(array)

    def to_numpy(self, tensor: Tensor) -> Array:
        return np.asarray(tensor.numpy())

    def on(self, device: str) -> AbstractContextManager[object]:
        return self.tf.device(self.device_names[device])

    def compile(self, computation: AnyComputation, check: Check) -> AnyComputation:
        mode = self.mode_of(check)
        if mode.execution == "eager":
            return super().compile(computation, check)
        # A new object each time: TensorFlow warns of retracing when functions made at one line are traced often
        fresh = partial(computation)
        if mode.any_sizes:
            return self._of_unknown_sizes(fresh)
        return self.tf.function(fresh, autograph=False, jit_compile=mode.execution == "compiled")

    def _of_unknown_sizes(self, computation: AnyComputation) -> AnyComputation:
        """The computation as graphs that hold for tensors of any sizes, one for each set of dtypes."""
        graphs: dict[object, AnyComputation] = {}

        def run(*arguments: Any) -> Any:
            tensors = self.tf.nest.flatten(arguments)
            key = tuple((x.dtype, len(x.shape)) for x in tensors)
            if key not in graphs:
                specs = [self.tf.TensorSpec([None] * len(x.shape), x.dtype) for x in tensors]
                signature = self.tf.nest.pack_sequence_as(arguments, specs)
                graphs[key] = self.tf.function(computation, autograph=False, input_signature=signature)
            return graphs[key](*arguments)

        return run

    def pullback(self, computation: Computation, variables: Sequence[str], check: Check) -> Pullback:
        def pull_back(operands: Operands, cotangent: Tensor) -> Mapping[str, Tensor | None]:
            inputs = {name: operands[name] for name in variables}
            with self.tf.GradientTape() as tape:
                tape.watch(inputs)
                result = computation(operands)
            gradients = tape.gradient(result, inputs, output_gradients=cotangent)
            # The gradient of tf.gather is IndexedSlices until it is converted to a tensor
            return {name: None if x is None else self.tf.convert_to_tensor(x) for name, x in gradients.items()}

        return self.compile(pull_back, check)


@cache
def has_avx512() -> bool:
    """Whether NumPy finds AVX-512 on this CPU, as a feature AVX512… or, since 2.4, as their sum X86_V4."""
    build: Any = np.show_config(mode="dicts")
    features = build["SIMD Extensions"].get("found", [])
    return any(name.startswith("AVX512") or name == "X86_V4" for name in features)


@contextmanager
def _suppress_stderr() -> Iterator[None]:
    """Drop what is logged to file descriptor 2, unless an exception is raised.

    absl writes there before it can be configured.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(stderr, log.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
