"""ONNX's tests of backends for attention and einsum, run by ONNX's reference evaluator; pytest is given this file."""

from typing import Any

import onnx.backend.test
from onnx import ModelProto
from onnx.backend.base import Backend, BackendRep
from onnx.reference import ReferenceEvaluator


class Representation(BackendRep):
    def __init__(self, model: ModelProto) -> None:
        self.evaluator = ReferenceEvaluator(model)

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        names = self.evaluator.input_names[: len(inputs)]
        return tuple(self.evaluator.run(None, dict(zip(names, inputs, strict=True))))


class Reference(Backend):
    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **options: Any) -> BackendRep:
        return Representation(model)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


tests = onnx.backend.test.BackendTest(Reference, __name__)
tests.include(r"^test_(attention|einsum)_")
globals().update(tests.test_cases)
