"""The end of a program: every number of its results held against what is right, as the suite does it.

It is written for what the results are: a program of real numbers has no line for complex ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backends.standalone.dialects import Dialect, written
from backends.standalone.expectation import Expected

TEXT = """\
# Of each result: its dtype; the right values{parts}{limits}
expected = {{
{expected}
}}
{tables}wrong = 0
for name, ({fields}) in expected.items():
    result = results[name]
{missing}    found, shape = {found}, tuple(result.shape)
    wanted = {wanted}
    print(f"{{name}}: {{found}}, shape {{shape}}; expected {{dtype}}, shape {{wanted}}")
    if (found, shape) != (dtype, wanted):
        wrong += 1
        continue
{numbers}
    for at in np.lexsort((-np.ravel(share), np.ravel(fits)))[:12]:  # those that are wrong, then those that lie worst
        index = tuple(int(i) for i in np.unravel_index(at, right.shape))
        value, number, low, high = (each[index].item() for each in (right, got, lowest, highest))
        place, told = list(index), "within" if fits[index] else "OUTSIDE"
{place}        print(f"  {{place}} expected {{value!r}}, got {{number!r}}, {{told}} {{low!r}} ... {{high!r}}")
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


def comparison(expected: Mapping[str, Expected], dialect: Dialect, missing: bool = False) -> str:
    """Lines that compare `results`, print the worst numbers of each and end with status 1 where one is wrong.

    `missing` says that some of the results may be None.
    """
    complex = any(each.dtype.startswith("complex") for each in expected.values())
    limited = not all(each.exact for each in expected.values())
    return TEXT.format(
        parts=", (real, imaginary) parts apart" if complex else "",
        limits=LIMITS if limited else ", alone",
        expected="\n".join(_entry(name, each, limited) for name, each in expected.items()),
        tables="".join(f"{line}\n" for line in _tables(expected)),
        fields="dtype, right, lowest, highest" if limited else "dtype, right",
        missing=MISSING if missing else "",
        found=dialect.dtype,
        wanted='right.shape[:-1] if dtype.startswith("complex") else right.shape' if complex else "right.shape",
        numbers="\n".join(_numbers(expected, dialect, complex, limited)),
        place=PLACE if complex else "",
    )


def _entry(name: str, of: Expected, limited: bool) -> str:
    arrays = (of.right, of.lowest, of.highest) if limited else (of.right,)
    lines = [f'"{of.dtype}"', *map(written, arrays)]
    return f'    "{name}": (\n' + "".join(f"        {line},\n" for line in lines) + "    ),"


def _tables(expected: Mapping[str, Expected]) -> Iterator[str]:
    """What holds for some of the results only."""
    flushed = {name: each.zeros for name, each in expected.items() if each.zeros is not None}
    if flushed:
        yield "# Where 0 is right too, because what is subnormal may be flushed to it"
        yield "flushed = {" + ", ".join(f'"{name}": {written(zeros)}' for name, zeros in flushed.items()) + "}"
    if signed := [name for name, each in expected.items() if each.signed]:
        yield "# Of which numbers are copied: zeros keep their sign"
        yield "signed = [" + ", ".join(f'"{name}"' for name in signed) + "]"


def _numbers(expected: Mapping[str, Expected], dialect: Dialect, complex: bool, limited: bool) -> Iterator[str]:
    """From `result` to `got`, to `fits`, and to the `share` of what is allowed that the error makes up."""
    if dialect.widened and any(each.dtype == "bfloat16" for each in expected.values()):
        yield WIDENED.format(widened=dialect.widened)
    inexact = any(each.inexact for each in expected.values())
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
    if any(each.zeros is not None for each in expected.values()):
        yield FLUSHED
    if any(each.signed for each in expected.values()):
        yield SIGNED
    yield SHARE
