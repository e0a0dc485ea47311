"""The end of a program: it compares every number of the results with the expected values, as the suite does.

It has only the lines that its results need: a program of real numbers has none for complex numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backends.parts.dialect import Dialect
from backends.standalone.arrays import array_expression
from backends.standalone.expectation import Expected

TEXT = """\
# Of each result: its dtype; the right values{parts}{limits}
expected = {{
{expected}
}}
{tables}wrong = 0
for name, ({fields}) in expected.items():
    result = results[name]
{missing}    got_dtype, got_shape = {got_dtype}, tuple(result.shape)
    shape = {shape}
    print(f"{{name}}: {{got_dtype}}, shape {{got_shape}}; expected {{dtype}}, shape {{shape}}")
    if (got_dtype, got_shape) != (dtype, shape):
        wrong += 1
        continue
{numbers}
    for position in np.lexsort((-np.ravel(share), np.ravel(fits)))[:12]:  # wrong numbers, then the largest errors
        index = tuple(int(i) for i in np.unravel_index(position, right.shape))
        value, number, low, high = (array[index].item() for array in (right, got, lowest, highest))
        place, relation = list(index), "within" if fits[index] else "OUTSIDE"
{place}        print(f"  {{place}} expected {{value!r}}, got {{number!r}}, {{relation}} {{low!r}} ... {{high!r}}")
    print(f"{{name}}: {{np.sum(~fits)}} of {{fits.size}} numbers are wrong")
    wrong += np.sum(~fits)
print(f"{{wrong}} wrong" if wrong else "all of these are right")
sys.exit(1 if wrong else 0)"""
LIMITS = "; the lowest and the highest\n# that correct arithmetic can give (NaN: no limit)"
MISSING = """\
    if result is None:
        print(f"{name}: missing: the framework sees no connection to the result")
        wrong += 1
        continue
"""
WIDENED = """\
    if dtype == "bfloat16":
        result = {widened}"""
SPLIT = """\
    if dtype.startswith("complex"):
        got = np.stack([got.real, got.imag], axis=-1)
    got = got.astype(np.float64)"""
FITS = """\
    fits = (lowest <= got) & (got <= highest) | np.isnan(got) & np.isnan(right) | np.isnan(lowest)"""
FLUSHED = "    fits |= (got == 0) & flushed.get(name, False)"
SIGNED = """\
    if name in signed:
        fits &= (got != 0) | (right != 0) | (np.signbit(got) == np.signbit(right))"""
SHARE = """\
    with np.errstate(all="ignore"):
        share = abs(got - right) / np.where(got < right, right - lowest, highest - right)
    share = np.where(np.isnan(share), np.where(fits, 0.0, np.inf), share)"""
EXACT = """\
    fits = got == right
    share = np.where(fits, 0.0, 1.0)"""
PLACE = """\
        if dtype.startswith("complex"):
            place = f"{place[:-1]} {('real', 'imag')[place[-1]]}"
"""


def comparison_lines(expected: Mapping[str, Expected], dialect: Dialect, missing: bool = False) -> str:
    """Lines that compare `results`, print the worst numbers of each and exit with status 1 if one is wrong.

    `missing` says that some of the results may be None.
    """
    complex = any(entry.dtype.startswith("complex") for entry in expected.values())
    limited = not all(entry.exact for entry in expected.values())
    return TEXT.format(
        parts=", (real, imaginary) parts apart" if complex else "",
        limits=LIMITS if limited else ", alone",
        expected="\n".join(_entry(name, entry, limited) for name, entry in expected.items()),
        tables="".join(f"{line}\n" for line in _tables(expected)),
        fields="dtype, right, lowest, highest" if limited else "dtype, right",
        missing=MISSING if missing else "",
        got_dtype=dialect.dtype,
        shape='right.shape[:-1] if dtype.startswith("complex") else right.shape' if complex else "right.shape",
        numbers="\n".join(_numbers(expected, dialect, complex, limited)),
        place=PLACE if complex else "",
    )


def _entry(name: str, expected: Expected, limited: bool) -> str:
    arrays = (expected.right, expected.lowest, expected.highest) if limited else (expected.right,)
    lines = [f'"{expected.dtype}"', *map(array_expression, arrays)]
    return f'    "{name}": (\n' + "".join(f"        {line},\n" for line in lines) + "    ),"


def _tables(expected: Mapping[str, Expected]) -> Iterator[str]:
    """Tables that apply to some of the results only."""
    flushed = {name: entry.zeros for name, entry in expected.items() if entry.zeros is not None}
    if flushed:
        yield "# Where 0 is right too, because what is subnormal may be flushed to it"
        yield "flushed = {" + ", ".join(f'"{name}": {array_expression(zeros)}' for name, zeros in flushed.items()) + "}"
    if signed := [name for name, entry in expected.items() if entry.signed]:
        yield "# Of which numbers are copied: zeros keep their sign"
        yield "signed = [" + ", ".join(f'"{name}"' for name in signed) + "]"


def _numbers(expected: Mapping[str, Expected], dialect: Dialect, complex: bool, limited: bool) -> Iterator[str]:
    """From `result` to `got`, to `fits` and to `share`, the ratio of the error to the allowed one."""
    if dialect.widened and any(entry.dtype == "bfloat16" for entry in expected.values()):
        yield WIDENED.format(widened=dialect.widened)
    inexact = any(entry.inexact for entry in expected.values())
    wide = ".astype(np.float64)" if inexact and not complex else ""
    yield f"    got = {dialect.array}{wide}"
    if not limited:
        yield "    lowest = highest = right"
    if not inexact:
        yield EXACT
        return
    if complex:
        yield SPLIT
    yield FITS
    if any(entry.zeros is not None for entry in expected.values()):
        yield FLUSHED
    if any(entry.signed for entry in expected.values()):
        yield SIGNED
    yield SHARE
