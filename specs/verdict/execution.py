"""Run the calls of a check, and find out whether they do anything but return results that their operands determine.

A backend is given copies, so whatever it does to them reaches no reference and no other backend.  After each call the
copies must hold the same bytes, gaps between elements included, and no result may lie in their memory, unless the
backend declares a view.  Each call is then made again, in the opposite order, on new copies that lie elsewhere but are
aligned alike, while free memory holds other bytes than before.  The result must have the same bits, unless the backend
declares that it varies, and may not lie where the first one is.  So memory that was not written, the number of a call,
what an earlier call left behind and one buffer for all results become visible.

Where that takes no longer than a millisecond, a third call has other values in the very arrays of the first, and a
fourth has the first ones again.  The values have changed places (`memory.exchange`), so what a lazy key may consist of
stays as it was: shapes, addresses, the first and the last element of each operand, and their sum.  A result that stays
too is looked up in a reference for these values, and is one that was kept from the first call where it is wrong.  It is
not compared otherwise: references cost more than calls.  So a computation that goes wrong from its second, third or
fourth call on is found, and one that does so later is not, nor a cache whose key holds more of the values.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from specs.arithmetic.formats import Array
from specs.case.operands import FIXED
from specs.inputs import inputs, memory
from specs.verdict.check import Check
from specs.verdict.direction import DIRECTIONS, BackendProtocol, Call, Output, is_out_of_memory, summarize_exception

DEAR_SECONDS = 0.005  # designed inputs are not computed again if that takes longer; the case's own always are
CHEAP_SECONDS = 0.001  # a call that takes no longer, at its first or second time, is made twice more
PATTERN = 0xFF  # of free memory before the second call: NaN in floating point, -1 in integers

Inputs = tuple[Mapping[str, Array], Mapping[str, Array]]  # operands, and what is given besides, by name


class DesignedError(Exception):
    """An exception of a backend on designed inputs, after it had computed the case's own."""


class SideEffectError(Exception):
    """A call changed what it was given, or returned memory of it; `returned` is what it returned, if it did."""

    def __init__(self, reason: str, returned: Mapping[str, Array] | None = None) -> None:
        super().__init__(reason)
        self.returned = returned


@dataclass(frozen=True)
class Execution:
    """What the calls of a check did.

    results       the outputs that the backend returned, as they were right after their call
    seconds       that the first call on each set of inputs took
    side_effects  what else the calls did, or what their results depend on, each as a part of a reason
    repeatable    whether further calls gave the same bits; None if there were none
    others        other values of the inputs with which a further call was made; None if there was none
    unmoved       outputs that had the same bits for them
    """

    results: Mapping[Output, Array]
    seconds: float
    side_effects: tuple[str, ...] = ()
    repeatable: bool | None = None
    others: Inputs | None = None
    unmoved: tuple[Output, ...] = ()


def execute(backend: BackendProtocol, check: Check, outputs: Sequence[Output], again: bool = True) -> Execution:
    """Make the calls that compute the outputs, and each `again`.

    Raises whatever the framework raises, DesignedError if that was on designed inputs, and SideEffectError where it
    changed its operands before.
    """
    calls = DIRECTIONS[check.direction].calls(outputs)
    first = [_made(backend, check, call) for call in calls]
    results = {output: array for made in first for output, array in made.by_output().items()}
    effects = [effect for made in first for effect in made.side_effects]
    repeatable: bool | None = None
    others: Inputs | None = None
    unmoved: list[Output] = []
    if again:
        pairs = list(_made_again(backend, check, reversed(first), effects))
        if any(one is first[0] and min(one.seconds, other.seconds) <= CHEAP_SECONDS for one, other in pairs):
            others, unmoved = _made_with_others(backend, check, first[0], effects)
            pairs += _made_again(backend, check, first[:1], effects)
        differences = [difference for pair in pairs for difference in _differences(*pair)]
        repeatable = not differences
        if backend.varies(check) is None:
            effects += differences
        if any(_share_memory(one.returned, other.returned) for one, other in pairs):
            effects.append("a later call returns its result in the memory of an earlier one")
    seconds = sum(made.seconds for made in first)
    return Execution(results, seconds, tuple(dict.fromkeys(effects)), repeatable, others, tuple(unmoved))


@dataclass(frozen=True)
class _Made:
    """A call that was made: what it was given and returned, by label, copies of that, and what it did besides."""

    call: Call
    given: Inputs
    returned: Mapping[str, Array]
    copies: Mapping[str, Array]
    seconds: float
    side_effects: tuple[str, ...]

    def by_output(self) -> dict[Output, Array]:
        return {output: self.copies[output.label] for output in self.call.outputs if output.label in self.copies}


def _made(backend: BackendProtocol, check: Check, call: Call, given: Inputs | None = None) -> _Made:
    """Make the call with copies of its inputs, or with what is `given`."""
    direction = DIRECTIONS[check.direction]
    operands, extra = given or _copies(
        inputs.operands(call.case, check.dtype), direction.extra_inputs(call.case, check.dtype)
    )
    arrays = {**operands, **extra}
    before = {name: _bytes_around(array) for name, array in arrays.items()}
    effects, started = [], time.perf_counter()
    try:
        returned = direction.call(backend, check, dict(operands), dict(extra))
    except Exception as error:
        if isinstance(error, SideEffectError) and error.returned is not None:
            returned, effects = error.returned, [str(error)]
        elif changed := _changed(arrays, before):
            raise SideEffectError(f"{'; '.join(changed)}, and then raised {summarize_exception(error)}") from error
        elif call.recipe is None or is_out_of_memory(error):
            raise
        else:
            raise DesignedError(f"on {call.recipe} inputs {summarize_exception(error)}") from error
    seconds = time.perf_counter() - started
    effects += _changed(arrays, before)
    if unasked := returned.keys() - {output.label for output in call.outputs}:
        effects.append(describe_unasked(unasked))
    if not backend.returns_view(check):
        effects += describe_views(returned, arrays)
    return _Made(
        call, (operands, extra), returned, {name: np.array(x) for name, x in returned.items()}, seconds, tuple(effects)
    )


def _made_again(
    backend: BackendProtocol, check: Check, first: Iterable[_Made], effects: list[str]
) -> Iterator[tuple[_Made, _Made]]:
    """Each call with the same call made again; adds to `effects` what the second calls did."""
    for made in first:
        if made.call.recipe is not None and made.seconds > DEAR_SECONDS:
            continue
        for array in made.copies.values():
            memory.spoil_free_memory(array.nbytes, PATTERN)
        try:
            second = _made(backend, check, made.call)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            effects.append(f"a further call on equal operands raised {summarize_exception(error)}")
            continue
        effects += second.side_effects
        yield made, second


def _made_with_others(
    backend: BackendProtocol, check: Check, made: _Made, effects: list[str]
) -> tuple[Inputs | None, list[Output]]:
    """The other inputs that a call was made with, and the outputs that had the same bits for them."""
    operands, extra = made.given
    memory.exchange(array for name, array in {**operands, **extra}.items() if name not in FIXED)
    others = _copies(operands, extra)
    try:
        results = _made(backend, check, made.call, made.given).by_output()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        effects.append(f"a further call on other operands raised {summarize_exception(error)}")
        return None, []
    first = made.by_output()
    return others, [output for output, array in results.items() if output in first and same_bits(array, first[output])]


def _copies(operands: Mapping[str, Array], extra: Mapping[str, Array]) -> Inputs:
    copies = memory.copy_all({**operands, **extra})
    return {name: copies[name] for name in operands}, {name: copies[name] for name in extra}


# What is compared -------------------------------------------------------------------------------------------------


def describe_views(returned: Mapping[str, Array], operands: Mapping[str, Array]) -> list[str]:
    """For each operand in whose memory a result lies, a part of a reason."""
    return [
        f"the result is a view of {name}, which the backend does not declare: it changes when {name} does"
        for name, operand in operands.items()
        if _share_memory(returned, {name: operand})
    ]


def describe_unasked(labels: Iterable[str]) -> str:
    """What is wrong with outputs that were returned and not asked for, as a part of a reason."""
    return f"{', '.join(sorted(f'{label!r:.40}' for label in labels))} was returned, for which nothing asked"


def same_bits(one: Array, other: Array) -> bool:
    """Whether two arrays have the same dtype, shape and bytes."""
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def _changed(given: Mapping[str, Array], before: Mapping[str, bytes]) -> list[str]:
    """For each operand that no longer has the bytes of `before`, a part of a reason."""
    return [f"{name} was changed in place" for name, array in given.items() if _bytes_around(array) != before[name]]


def _bytes_around(copy: Array) -> bytes:
    """All memory of what `memory.copy` returned."""
    assert copy.base is not None
    return copy.base.tobytes()


def _share_memory(some: Mapping[str, Array], others: Mapping[str, Array]) -> bool:
    """Whether arrays that are alive at the same time overlap."""
    return any(np.may_share_memory(one, other) for one in some.values() for other in others.values())


def _differences(first: _Made, second: _Made) -> Iterator[str]:
    """What differs between two calls on equal operands, each as a part of a reason."""
    again = second.by_output()
    for output, one in first.by_output().items():
        prefix = f"{output.description}: " if output.description else ""
        if (other := again.get(output)) is None:
            yield f"{prefix}not the same bits twice: nothing the second time"
        elif not same_bits(one, other) and (difference := _describe_difference(one, other)):
            yield f"{prefix}not the same bits twice: {difference}"


def _describe_difference(one: Array, other: Array) -> str:
    """How two results differ; "" if only in the bits of NaN."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return f"{one.dtype} of shape {one.shape}, then {other.dtype} of shape {other.shape}"
    bits = [np.ascontiguousarray(x).reshape(-1).view(np.uint8).reshape(x.size, x.itemsize) for x in (one, other)]
    differ = (bits[0] != bits[1]).any(axis=1) & ~((one != one) & (other != other)).reshape(-1)
    count = int(np.count_nonzero(differ))
    return f"{count} of {one.size} values differ" if count else ""
