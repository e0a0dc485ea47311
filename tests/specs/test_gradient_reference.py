"""Gradients of einsum: the reference against the definition, the bound against simulated backpropagation, verdicts."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from narrow_arithmetic import ORDERS, PRECISIONS, Simulated, normal, worst

from specs import gradient, inputs
from specs.bound import Reference
from specs.case import AttentionConfig, Case, CaseError, Config, EinsumConfig
from specs.check import Check, Place, checks
from specs.comparison import compare
from specs.deviation import Deviation, Recorded
from specs.double_double import DoubleDouble
from specs.equation import bind, parse
from specs.formats import BFLOAT16, DTYPES, FLOAT32, TF32, Array, cast, round_to
from specs.precision import Precision, declared
from specs.record import Record
from specs.verdict import judge

Shapes = Sequence[tuple[int, ...]]

# The definition, in exact arithmetic ----------------------------------------------------------------------------------


class Gaussian(NamedTuple):
    """A complex number with rational parts."""

    real: Fraction
    imag: Fraction

    def __add__(self, other: "Gaussian") -> "Gaussian":  # type: ignore[override]
        return Gaussian(self.real + other.real, self.imag + other.imag)

    def __mul__(self, other: "Gaussian") -> "Gaussian":  # type: ignore[override]
        return Gaussian(
            self.real * other.real - self.imag * other.imag, self.real * other.imag + self.imag * other.real
        )


def exact(value: Any) -> Gaussian:
    number = complex(value)
    return Gaussian(Fraction(number.real), Fraction(number.imag))


def brute_force(equation: str, operands: list[Array], cotangent: Array, of: int) -> dict[tuple[int, ...], Gaussian]:
    """Each term of the sum is differentiated by itself, and adds to the element that it was made with."""
    contraction = bind(equation, [o.shape for o in operands])
    sizes = contraction.sizes
    found = {index: exact(0) for index in np.ndindex(operands[of].shape)}
    for values in product(*(range(size) for size in sizes.values())):
        at = dict(zip(sizes, values, strict=True))
        places = [
            tuple(at[label] if n > 1 else 0 for label, n in zip(term, operand.shape, strict=True))
            for term, operand in zip(contraction.operands, operands, strict=True)
        ]
        term = exact(cotangent[tuple(at[label] for label in contraction.output)])
        for i, (operand, place) in enumerate(zip(operands, places, strict=True)):
            if i != of:
                term = term * exact(operand[place])
        found[places[of]] = found[places[of]] + term
    return found


def draw(shape: tuple[int, ...], dtype: str, generator: np.random.Generator) -> Array:
    values = generator.standard_normal(shape)
    return cast(values + 1j * generator.standard_normal(shape) if dtype.startswith("c") else values, DTYPES[dtype])


def setting(equation: str, shapes: Shapes, dtype: str, seed: int = 0) -> tuple[list[Array], Array]:
    """Random operands and cotangent."""
    generator = np.random.default_rng(seed)
    cotangent = draw(bind(equation, list(shapes)).output_shape, dtype, generator)
    return [draw(shape, dtype, generator) for shape in shapes], cotangent


def reference(
    equation: str, operands: list[Array], cotangent: Array, of: int, dtype: str, p: Precision | None = None, **said: Any
) -> Reference:
    config = EinsumConfig(equation=equation, shapes=[list(o.shape) for o in operands])
    p = p or declared(DTYPES[dtype])
    return gradient.reference(config, DTYPES[dtype], operands, cotangent, of, p, **{"random": True} | said)


EQUATIONS: list[tuple[str, Shapes]] = [
    ("->", [()]),
    ("ij->ji", [(2, 3)]),
    ("ij->j", [(4, 3)]),
    ("ii->i", [(3, 3)]),
    ("ii->", [(3, 3)]),
    ("ijij->j", [(2, 3, 2, 3)]),
    ("aaab->b", [(2, 2, 2, 3)]),
    ("...->", [(2, 3)]),
    ("...ii->...i", [(2, 3, 3)]),
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]),
    ("ij,ij->j", [(1, 3), (2, 3)]),
    ("ii,i->i", [(1, 1), (3,)]),
    ("ij,k->i", [(2, 3), (4,)]),
    ("ii,jj->ij", [(2, 2), (3, 3)]),
    (",ij->ji", [(), (2, 3)]),
    ("...ij,...jk->...ik", [(2, 1, 2, 3), (3, 3, 2)]),
    ("...ij,jk->...ik", [(2, 1, 2, 3), (3, 2)]),
    ("...,...->...", [(3, 4), (4,)]),
    ("ij,jk->ik", [(2, 0), (0, 3)]),
    ("ij,jk->ik", [(0, 2), (2, 3)]),
    ("i,i->i", [(1,), (0,)]),
    ("i,i,i->i", [(3,), (1,), (3,)]),
    ("iij,jk,k->", [(2, 2, 3), (3, 2), (2,)]),
    ("ij,k,l->jl", [(2, 3), (2,), (3,)]),
]


def random_equation(seed: int) -> tuple[str, Shapes]:
    """One to three operands with repeated, lone and broadcast labels, some with unnamed axes."""
    generator = random.Random(seed)
    sizes = {label: generator.randint(1, 3) for label in "ijk"} | {0: 2, 1: 3}
    terms, shapes = [], []
    for _ in range(generator.randint(1, 3)):
        labels = generator.choices("ijk", k=generator.randint(0, 3))
        thin = {label: generator.random() < 0.2 for label in sizes}
        unnamed = list(range(2))[generator.randint(0, 2) :] if generator.random() < 0.4 else None
        terms.append(("" if unnamed is None else "...") + "".join(labels))
        shapes.append(tuple(1 if thin[axis] else sizes[axis] for axis in (*(unnamed or ()), *labels)))
    known = sorted({label for term in terms for label in term if label != "."})
    output = generator.sample(known, generator.randint(0, len(known)))
    dots = "..." if any("." in term for term in terms) and generator.random() < 0.7 else ""
    return f"{','.join(terms)}->{dots}{''.join(output)}", shapes


RANDOM = [random_equation(seed) for seed in range(60)]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS + RANDOM, ids=lambda value: str(value))
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
def test_the_reference_is_the_sum_of_the_derivatives_of_all_terms(equation: str, shapes: Shapes, dtype: str) -> None:
    operands, cotangent = setting(equation, shapes, dtype)
    unit = 2.0**-100 if dtype in ("float64", "complex128") else 2.0**-50
    for of, operand in enumerate(operands):
        found = reference(equation, operands, cotangent, of, dtype)
        assert found.shape == operand.shape
        value = found.value
        wide = value if isinstance(value, DoubleDouble) else DoubleDouble(value)
        magnitudes = brute_force(equation, [np.abs(o) for o in operands], np.abs(cotangent), of)
        for index, expected in brute_force(equation, operands, cotangent, of).items():
            high, low = np.atleast_1d(wide.hi[index]), np.atleast_1d(wide.lo[index])
            got = [Fraction(float(h)) + Fraction(float(low_part)) for h, low_part in zip(high, low, strict=True)]
            for part, right in zip(got, expected, strict=False):
                assert abs(part - right) <= Fraction(unit) * 100 * magnitudes[index].real


def test_equations_of_every_shape_are_among_the_random_ones() -> None:
    bound = [bind(equation, shapes) for equation, shapes in RANDOM]
    assert any(len(set(term)) < len(term) for c in bound for term in c.operands), "a diagonal"
    assert any(label.startswith("...") for c in bound for label in c.output), "unnamed axes"
    late = [late_labels(equation, shapes, i) for equation, shapes in RANDOM for i in range(len(shapes))]
    assert sum(map(bool, late)) > 10, "broadcast axes"


def test_off_a_diagonal_zero_is_exact() -> None:
    operands, cotangent = setting("ij,ii->j", [(3, 4), (3, 3)], "float32")
    found = reference("ij,ii->j", operands, cotangent, 1, "float32")
    off = ~np.eye(3, dtype=bool)
    assert not found.error[off].any()
    assert found.error[~off].all()
    leaked = cast(found.value, DTYPES["float32"])
    assert compare(leaked, found).problem == ""
    leaked[0, 1] = 1e-30
    assert compare(leaked, found).problem


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "complex64"])
@pytest.mark.parametrize(("equation", "shape"), [("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ii->i", (3, 3))])
def test_the_gradient_of_one_operand_is_a_copy_of_the_cotangent(equation: str, shape: Any, dtype: str) -> None:
    operands, cotangent = setting(equation, [shape], dtype)
    assert not reference(equation, operands, cotangent, 0, dtype).error.any()


def test_only_what_was_broadcast_may_be_stored_before_it_is_summed() -> None:
    assert late_labels("ij,jk->ik", [(2, 1), (3, 4)], 0) == ("j",)
    assert late_labels("ij,jk->ik", [(2, 1), (3, 4)], 1) == ()
    assert late_labels("...,...->...", [(3, 4), (4,)], 1) == ("...1",)
    assert late_labels("...ij,jk->...ik", [(3, 4, 5), (5, 6)], 1) == ()
    assert late_labels("i,ij,ij->ij", [(2,), (2, 1), (2, 3)], 0) == ("j",), "the product of the first two was"
    assert late_labels("i,ij,ij->ij", [(2,), (2, 1), (2, 3)], 2) == ()


# Soundness ------------------------------------------------------------------------------------------------------------


class Backpropagation(Simulated):
    """Contracts pair by pair in a random order, then takes gradients backwards along it; stores what lies between."""

    expanded = False  # whether operands are first expanded along the axes that broadcast

    def gradients(self, equation: str, operands: list[Array], cotangent: Array) -> list[Array]:
        contraction = bind(equation, [o.shape for o in operands])
        sizes = contraction.sizes
        letter = {label: chr(ord("a") + i) for i, label in enumerate(sizes)}
        nodes: list[tuple[tuple[list[str], Array], Any]] = []
        for i, (term, operand) in enumerate(zip(contraction.operands, operands, strict=True)):
            labels = list(dict.fromkeys(term))
            own = np.einsum("".join(letter[x] for x in term) + "->" + "".join(letter[x] for x in labels), operand)
            if self.expanded:
                own = np.broadcast_to(own, [sizes[x] for x in labels])
            kept = [axis for axis, label in enumerate(labels) if own.shape[axis] == sizes[label]]
            nodes.append((([labels[axis] for axis in kept], own.reshape([own.shape[axis] for axis in kept])), i))
        while len(nodes) > 1:
            i, j = sorted(self.random.choice(len(nodes), 2, replace=False))
            second, first = nodes.pop(j), nodes.pop(i)
            kept = set(contraction.output).union(*(part[0] for part, _ in nodes))
            nodes.append((self.stored(self.multiplied(first[0], second[0], kept)), (first, second)))
        found: dict[int, Array] = {}
        self.backward(nodes[0], (list(contraction.output), cotangent), found)
        return [
            self.placed(found[i], term, operand.shape, sizes)
            for i, (term, operand) in enumerate(zip(contraction.operands, operands, strict=True))
        ]

    def backward(self, node: Any, grad: tuple[list[str], Array], found: dict[int, Array]) -> None:
        (labels, values), made_of = node
        grad = self.spread(self.summed(*grad, set(labels)), labels, values.shape)
        if isinstance(made_of, int):
            found[made_of] = grad[1]
            return
        for child, sibling in (made_of, made_of[::-1]):
            product = self.multiplied(grad, sibling[0], set(child[0][0]))
            self.backward(child, self.stored(product) if self.expanded or type(child[1]) is tuple else product, found)

    def spread(self, part: tuple[list[str], Array], labels: list[str], shape: tuple[int, ...]) -> Any:
        """Constant along labels that only the operand has."""
        own, values = part
        values = values.transpose([own.index(x) for x in labels if x in own])
        thin = [n if x in own else 1 for x, n in zip(labels, shape, strict=True)]
        return labels, np.broadcast_to(values.reshape(thin), shape)

    def placed(self, grad: Array, term: Any, shape: tuple[int, ...], sizes: Mapping[str, int]) -> Array:
        distinct = list(dict.fromkeys(term))
        own = dict(zip(term, shape, strict=True))
        if self.expanded:
            varying = [x for x in distinct if own[x] == sizes[x]]
            _, grad = self.summed(distinct, grad, set(varying))
        grad = round_to(grad, self.p.storage).reshape([own[x] for x in distinct])
        out = np.zeros(shape)
        for index in np.ndindex(grad.shape):
            at = dict(zip(distinct, index, strict=True))
            out[tuple(at[x] for x in term)] = grad[index]
        return out


class Expanded(Backpropagation):
    expanded = True


class SummedLate(Backpropagation):
    """What was broadcast is expanded by each product: its gradient is stored at that size, summed, and stored again."""

    late: frozenset[str]

    def gradients(self, equation: str, operands: list[Array], cotangent: Array) -> list[Array]:
        shapes = [o.shape for o in operands]
        self.late = frozenset(label for i in range(len(shapes)) for label in late_labels(equation, shapes, i))
        return super().gradients(equation, operands, cotangent)

    def backward(self, node: Any, grad: tuple[list[str], Array], found: dict[int, Array]) -> None:
        (labels, values), made_of = node
        if self.late.intersection(grad[0]).difference(labels) and isinstance(made_of, tuple):
            grad = self.stored(self.summed(*grad, set(labels)))
        grad = self.spread(self.summed(*grad, set(labels)), labels, values.shape)
        if isinstance(made_of, int):
            found[made_of] = grad[1]
            return
        for child, sibling in (made_of, made_of[::-1]):
            full = self.multiplied(grad, sibling[0], set(child[0][0]) | self.late)
            is_stored = isinstance(child[1], tuple) or not set(full[0]).issubset(child[0][0])
            self.backward(child, self.stored(full) if is_stored else full, found)


BACKWARD: list[tuple[str, Shapes]] = [
    ("ij,jk->ik", [(4, 32), (32, 4)]),
    ("ij,jk->ik", [(64, 2), (2, 64)]),
    ("bij,bjk->bik", [(1, 4, 8), (16, 8, 4)]),
    ("ij,jk->ik", [(4, 1), (16, 8)]),
    ("...ij,...j->...i", [(4, 1, 3, 5), (8, 5)]),
    ("ij,k->i", [(4, 16), (16,)]),
    ("iij,jk->k", [(6, 6, 12), (12, 5)]),
    ("ij,jk,kl->il", [(4, 8), (8, 8), (8, 4)]),
    ("ij,j,kl->il", [(4, 16), (16,), (8, 3)]),
    ("ai,aj,a->ij", [(16, 3), (16, 3), (1,)]),
    ("i,ij,ij->ij", [(24,), (24, 1), (24, 3)]),
    ("i,ij,jk,jk->k", [(9,), (9, 1), (5, 7), (5, 7)]),
    ("a,ab,bc,c->", [(5,), (5, 6), (6, 5), (5,)]),
]


@pytest.mark.parametrize("name", PRECISIONS, ids=lambda n: n.replace(" ", "_"))
@pytest.mark.parametrize(("equation", "shapes"), BACKWARD, ids=[f"{e}{s}" for e, s in BACKWARD])
@pytest.mark.parametrize("random", [True, False], ids=["random_data", "any_data"])
def test_backpropagation_in_any_order_stays_within_the_bound(
    name: str, equation: str, shapes: Shapes, random: bool
) -> None:
    dtype, formats = PRECISIONS[name]
    p = declared(DTYPES[dtype], **formats)
    contraction = bind(equation, list(shapes))
    broadcasts = any(late_labels(equation, shapes, i) for i in range(len(shapes)))
    operands = normal([*shapes, contraction.output_shape], dtype, 3)
    if not random:
        operands = [cast(np.abs(o.astype(np.float64)) + 1, DTYPES[dtype]) for o in operands]
    *operands, cotangent = operands
    wide = [o.astype(np.float64) for o in operands]
    expected = [reference(equation, operands, cotangent, i, dtype, p, random=random) for i in range(len(operands))]
    for seed, order in enumerate(ORDERS):
        for kind in (Backpropagation, Expanded, SummedLate) if broadcasts else (Backpropagation,):
            got = kind(p, order, seed).gradients(equation, wide, cotangent.astype(np.float64))
            for i, (result, right) in enumerate(zip(got, expected, strict=True)):
                stored_late = kind is Expanded and not late_labels(equation, shapes, i)
                assert stored_late or worst(result, right) <= 1, (order, kind.__name__, i)


def late_labels(equation: str, shapes: Shapes, of: int) -> tuple[str, ...]:
    return gradient.summed_late(bind(equation, list(shapes)), shapes, parse(equation)[0], of)


# Usefulness -----------------------------------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[Array, Array], Array]] = {
    "bfloat16 operands": lambda c, b: round_to(c, BFLOAT16) @ round_to(b, BFLOAT16).T,
    "TF32 operands": lambda c, b: round_to(c, TF32) @ round_to(b, TF32).T,
    "last term dropped": lambda c, b: c[:, :-1] @ b[:, :-1].T,
    "result through bfloat16": lambda c, b: round_to(c @ b.T, BFLOAT16),
    "cotangent of the row above": lambda c, b: np.roll(c, 1, axis=0) @ b.T,
    "sign": lambda c, b: -c @ b.T,
    "all off by 1e-5": lambda c, b: (c @ b.T) * (1 + 1e-5),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("terms", [4, 64, 512])
def test_a_fault_behind_float32_is_outside_the_bound(fault: str, terms: int) -> None:
    operands, cotangent = setting("ij,jk->ik", [(16, 16), (16, terms)], "float32")
    expected = reference("ij,jk->ik", operands, cotangent, 0, "float32")
    c, b = cotangent.astype(np.float64), operands[1].astype(np.float64)
    assert worst(round_to(c @ b.T, FLOAT32), expected) <= 1
    assert worst(round_to(FAULTS[fault](c, b), FLOAT32), expected) > 1


def test_products_stored_in_bfloat16_are_a_finding_where_nothing_was_broadcast() -> None:
    operands, cotangent = setting("i,j->ij", [(32,), (32,)], "bfloat16")
    expected = reference("i,j->ij", operands, cotangent, 0, "bfloat16")
    products = cotangent.astype(np.float64) * operands[1].astype(np.float64)
    assert worst(round_to(products.sum(axis=1), BFLOAT16), expected) <= 1
    assert worst(round_to(round_to(products, BFLOAT16).sum(axis=1), BFLOAT16), expected) > 1


# Inputs and checks ----------------------------------------------------------------------------------------------------


def case(**fields: Any) -> Case:
    said = {"equation": "ij,jk->ik", "shapes": [[3, 8], [8, 5]]} | fields
    if "operands" in fields:
        del said["shapes"]
    return Case("einsum/t::c", "c", Path("t.yaml"), 3, EinsumConfig.model_validate(said))


def test_the_cotangent_has_the_outputs_shape_and_a_stream_of_its_own() -> None:
    made = inputs.cotangent(case(), "bfloat16")
    assert (made.shape, made.dtype) == ((3, 5), DTYPES["bfloat16"].numpy)
    assert not made.flags.writeable
    assert not np.array_equal(made.ravel()[:5], inputs.operands(case(), "bfloat16")["operand_0"].ravel()[:5])
    assert inputs.cotangent(case(shapes=[[3, 8], [8, 5]], data="large"), "float64").std() < 3
    assert np.iscomplexobj(inputs.cotangent(case(), "complex64"))


def test_the_cotangent_of_integers_is_integers_so_that_gradients_are_exact() -> None:
    said = case(data="integers")
    made = inputs.cotangent(said, "float32")
    assert np.array_equal(made, np.rint(made))
    operands = list(inputs.operands(said, "float32").values())
    found = gradient.reference(
        said.config, DTYPES["float32"], operands, made, 0, declared(DTYPES["float32"]), random=False
    )
    assert found.facts["form"] == "exact"


def names(said: Case, directions: Any = ("forward", "grad")) -> list[str]:
    place = Place("fake", "cpu", {"einsum": ("einsum",), "attention": ("einsum",)}, ("eager",), directions)
    return [check.name for check in checks(said, [place])]


def test_checks_of_gradients_are_made_for_floats_where_the_backend_differentiates() -> None:
    said = case(dtypes=["float32", "complex64", "int32", "bool"])
    assert names(said) == [
        "c[fake-cpu-einsum-eager-float32]",
        "c[fake-cpu-einsum-eager-float32-grad]",
        "c[fake-cpu-einsum-eager-complex64]",
        "c[fake-cpu-einsum-eager-complex64-grad]",
        "c[fake-cpu-einsum-eager-int32]",
        "c[fake-cpu-einsum-eager-bool]",
    ]
    assert names(said, ("forward",)) == [name for name in names(said) if "grad" not in name]


def test_no_gradients_where_the_case_says_so_or_must_be_refused_or_is_attention() -> None:
    assert names(case(dtypes=["float32"], gradient=False)) == ["c[fake-cpu-einsum-eager-float32]"]
    refused = case(dtypes=["float32"], shapes=[[3, 8], [7, 5]], expect={"error": "size_mismatch"})
    assert names(refused) == ["c[fake-cpu-einsum-eager-float32]"]
    attention = AttentionConfig(q_len=2, head_dim=4, dtypes=["float32"])
    assert names(Case("a::c", "c", Path("t.yaml"), 1, attention)) == ["c[fake-cpu-einsum-eager-float32]"]


# Verdicts -------------------------------------------------------------------------------------------------------------

Pulled = Callable[..., Mapping[str, Array]]


@dataclass
class Fake:
    """A backend whose gradients are a function of cotangent and operands."""

    pulled: Pulled | Exception
    formats: Mapping[str, str | bool] = field(default_factory=dict)

    def unsupported(
        self, config: Config, implementation: str, mode: str, dtype: str, device: str, direction: str
    ) -> str | None:
        return None

    def precision(self, kind: str, implementation: str, mode: str, dtype: str, device: str) -> Precision:
        return declared(DTYPES[dtype], **self.formats)

    def run(self, *_: Any) -> Array:
        raise AssertionError("the result was not asked for")

    def gradient(
        self,
        case: Case,
        implementation: str,
        mode: str,
        operands: Mapping[str, Array],
        cotangent: Array,
        device: str,
    ) -> Mapping[str, Array]:
        if isinstance(self.pulled, Exception):
            raise self.pulled
        return self.pulled(cotangent, *operands.values())


def right(c: Array, a: Array, b: Array) -> dict[str, Array]:
    wide = np.complex128 if c.dtype.kind == "c" else np.float64
    c, w, v = c.astype(wide), a.astype(wide), b.astype(wide)
    return {"operand_0": (c @ v.T).astype(a.dtype), "operand_1": (w.T @ c).astype(b.dtype)}


def altered(name: str, change: Callable[[Array], Array]) -> Fake:
    return Fake(lambda *arrays: right(*arrays) | {name: change(right(*arrays)[name])})


def verdict(backend: Fake, said: Case | None = None, dtype: str = "float32", entries: Any = ()) -> Record:
    check = Check(said or case(), "fake", "cpu", "einsum", "eager", dtype, "grad")
    return judge(check, backend, "t.yaml::c[x-grad]", "t.yaml", entries)


def recorded(observed: dict[str, Any], **match: Any) -> Recorded:
    said = {"match": {"case": "*"} | match, "observed": observed, "grade": "bug", "reason": "It is known to be wrong."}
    return Recorded(Deviation.model_validate(said), Path("x.yaml"), 1)


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
def test_right_gradients_pass(dtype: str) -> None:
    # float64's own rounding in float64, which a matrix product of NumPy keeps to
    record = verdict(Fake(right), dtype=dtype)
    assert (record.verdict, record.reason, record.direction) == ("pass", "", "grad")
    assert record.measurement.bound["gradient_of"] in ("operand_0", "operand_1")


def test_the_reason_names_the_operand_and_the_measurement_is_that_of_the_worst() -> None:
    record = verdict(altered("operand_1", lambda g: np.where(np.arange(g.size).reshape(g.shape) < 3, 2 * g, g)))
    assert record.verdict == "fail"
    assert record.reason == "gradient of operand_1: 3 of 40 values are outside the error bound"
    assert record.measurement.bound["gradient_of"] == "operand_1"
    assert record.measurement.output_shape == (8, 5)


def test_a_missing_gradient_is_told_and_not_taken_for_zero() -> None:
    zeros = case(operands=[[[0.0, 0.0]], [[0.0], [0.0]]], dtypes=["float32"])
    record = verdict(Fake(lambda c, a, b: {"operand_0": right(c, a, b)["operand_0"]}), zeros)
    assert record.verdict == "fail"
    assert record.reason == "gradient of operand_1: missing: the framework sees no connection to the result"


def test_a_digest_tells_of_every_operand() -> None:
    digests = {
        verdict(fake).measurement.digest
        for fake in (Fake(right), altered("operand_0", lambda g: g * 2), altered("operand_1", lambda g: g * 2))
    }
    assert len(digests) == 3


WRONG: dict[str, Pulled] = {
    "conjugated": lambda *arrays: {name: np.conj(g) for name, g in right(*arrays).items()},
    "operands conjugated": lambda c, a, b: right(c, np.conj(a), np.conj(b)),
    "cotangent conjugated": lambda c, a, b: right(np.conj(c), a, b),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_conjugation_is_caught(fault: str) -> None:
    assert verdict(Fake(WRONG[fault]), dtype="complex64").verdict == "fail"


def test_swapped_gradients_are_caught() -> None:
    square = case(shapes=[[4, 4], [4, 4]])

    def swapped(c: Array, a: Array, b: Array) -> dict[str, Array]:
        found = right(c, a, b)
        return {"operand_0": found["operand_1"], "operand_1": found["operand_0"]}

    assert verdict(Fake(right), square).verdict == "pass"
    record = verdict(Fake(swapped), square)
    assert record.verdict == "fail"
    assert "gradient of operand_0" in record.reason
    assert "gradient of operand_1" in record.reason


@pytest.mark.parametrize("keepdims", [True, False])
def test_a_forgotten_sum_over_a_broadcast_axis_is_caught(keepdims: bool) -> None:
    said = case(equation="ij,ij->ij", shapes=[[1, 4], [3, 4]])

    def summed(c: Array, a: Array, b: Array) -> dict[str, Array]:
        return {"operand_0": (c * b).sum(axis=0, keepdims=True), "operand_1": c * a}

    def forgotten(c: Array, a: Array, b: Array) -> dict[str, Array]:
        return {"operand_0": (c * b)[:1] if keepdims else c * b, "operand_1": c * a}

    assert verdict(Fake(summed), said).verdict == "pass"
    record = verdict(Fake(forgotten), said)
    assert record.verdict == "fail"
    assert record.reason.startswith("gradient of operand_0: ")
    assert "operand_1" not in record.reason


def test_deviations_apply_to_the_direction_that_they_name() -> None:
    nan = altered("operand_0", lambda g: np.full_like(g, np.nan))
    assert verdict(nan, entries=[recorded({"value": "nan"}, direction="grad")]).verdict == "deviation"
    assert verdict(nan, entries=[recorded({"value": "zeros"}, direction="grad")]).verdict == "fail"
    assert verdict(nan, entries=[recorded({"value": "nan"}, direction="forward")]).verdict == "fail"
    stale = verdict(Fake(right), entries=[recorded({"value": "nan"})])
    assert stale.verdict == "fail"
    assert stale.reason.startswith("stale: ")


def test_a_recorded_precision_must_explain_every_wrong_gradient() -> None:
    def halved(g: Array) -> Array:
        return g.astype(np.float16).astype(g.dtype)

    known = [recorded({"precision": {"accumulate": "float16"}})]
    assert verdict(altered("operand_0", halved), entries=known).verdict == "deviation"
    both = Fake(
        lambda *arrays: {"operand_0": halved(right(*arrays)["operand_0"]), "operand_1": -arrays[1].T @ arrays[0]}
    )
    assert verdict(both, entries=known).verdict == "fail"


def test_a_recorded_error_is_a_deviation_and_any_other_is_not() -> None:
    refuses = Fake(NotImplementedError("no gradient of einsum"))
    assert verdict(refuses).reason == "raised NotImplementedError: no gradient of einsum"
    assert verdict(refuses, entries=[recorded({"error": "no gradient"})]).verdict == "deviation"
    assert verdict(refuses, entries=[recorded({"error": "out of luck"})]).verdict == "fail"


def test_a_case_without_meaning_is_told_as_such() -> None:
    with pytest.raises(CaseError):
        verdict(Fake(right), case(shapes=[[3, 8], [7, 5]]))
