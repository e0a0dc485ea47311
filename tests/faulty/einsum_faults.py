"""Wrong contractions: terms, axes, and equations that should have been refused."""

from __future__ import annotations

import numpy as np

from backends.numpy import Numpy
from specs.arithmetic.formats import Array
from specs.case.equation import ELLIPSIS, Term, bind, parse
from tests.faulty.fault import fault
from tests.faulty.wrong import CustomEinsum, Einsum, LongestSum, cast, format_equation, make_explicit, name_dtype

# Terms ----------------------------------------------------------------------------------------------------------------


@fault(
    "term_dropped_from_sum",
    values=[
        "einsum/long_sums::inner/1024[einsum-float32]",
        "einsum/long_sums::inner/65536[einsum-float32]",
        "einsum/long_sums::inner/65536[einsum-float64]",
        "einsum/long_sums::matrix_product/4096[einsum-optimized-float16]",
        "einsum/long_sums::sum[einsum-float32]",
        "einsum/long_sums::exact_floats[einsum-optimized-float32]",
    ],
)
class TermDroppedFromSum(CustomEinsum):
    """The loop over a summed label ends one term early."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        longest_sum = LongestSum(equation, operands)
        return einsum(equation, *(longest_sum.part(0, longest_sum.length - 1) if longest_sum.length > 1 else operands))


@fault(
    "tail_of_blocks_dropped",
    values=[
        "einsum/products::larger[einsum-float32]",
        "einsum/products::larger[einsum-optimized-float16]",
        "attention/lengths::longer_than_a_block[einsum-float32]",
    ],
)
class TailOfBlocksDropped(CustomEinsum):
    """A kernel for blocks of 128 terms drops those that do not fill a block; shorter sums take another path."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        longest_sum = LongestSum(equation, operands)
        return einsum(
            equation, *(longest_sum.part(0, longest_sum.length // 128 * 128) if longest_sum.length > 128 else operands)
        )


@fault(
    "nan_replaced_by_zero",
    nan=[
        "einsum/values::nonfinite[einsum-float32]",
        "einsum/values::nonfinite[einsum-optimized-float16]",
        "attention/masks::fully_masked_row_as_nan[matmul-float32]",
    ],
)
class NanReplacedByZero(Numpy):
    """nan_to_num on the result, to get rid of a NaN whose cause was never found."""

    def to_numpy(self, tensor: Array) -> Array:
        return np.nan_to_num(super().to_numpy(tensor))


@fault(
    "zeros_skipped",
    nan=[
        "einsum/products::zero_times_infinity[einsum-float32]",
        "einsum/products::zero_times_infinity[einsum-optimized-float64]",
    ],
)
class ZerosSkipped(CustomEinsum):
    """Terms whose right factor is zero are skipped, so 0 * inf adds 0: the reference BLAS did, sparse kernels do."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        if (
            len(operands) != 2
            or ELLIPSIS in equation
            or operands[0].dtype.kind != "f"
            or np.isfinite(operands[0]).all()
        ):
            return einsum(equation, *operands)  # a skipped term would change nothing
        terms, output, _ = make_explicit(equation, operands)
        all_labels = tuple(dict.fromkeys(terms[0] + terms[1]))
        products = einsum(format_equation(terms, all_labels), *operands)
        zero = einsum(format_equation(terms, all_labels), np.ones_like(operands[0]), operands[1]) == 0
        return einsum(format_equation([all_labels], output), np.where(zero, operands[0].dtype.type(0), products))


@fault(
    "empty_sum_not_written",
    nan=[
        "einsum/empty::summed[einsum-float32]",
        "einsum/empty::inner[einsum-optimized-float32]",
        "einsum/empty::one_operand_summed[einsum-float32]",
    ],
)
class EmptySumNotWritten(CustomEinsum):
    """A kernel that returns at once where there is nothing to add, and leaves the result as it was allocated."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        result = np.asarray(einsum(equation, *operands))
        return np.full_like(result, np.nan) if bind(equation, [x.shape for x in operands]).length == 0 else result


@fault(
    "left_factor_conjugated",
    values=[
        "einsum/products::complex[einsum-complex64]",
        "einsum/products::complex[einsum-optimized-complex128]",
    ],
)
class LeftFactorConjugated(CustomEinsum):
    """The inner product of BLAS's zdotc and of vdot, which conjugate, where einsum only multiplies."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        return einsum(equation, operands[0].conj() if len(operands) > 1 else operands[0], *operands[1:])


# Axes and dtype -------------------------------------------------------------------------------------------------------


@fault(
    "output_dtype_widened",
    dtype=[
        "einsum/products::matrix_product[einsum-float32]",
        "einsum/products::matrix_product[einsum-optimized-float16]",
        "einsum/products::integers[einsum-int32]",
        "attention/lengths::equal[einsum-float32]",
    ],
)
class OutputDtypeWidened(CustomEinsum):
    """The wider type in which sums are held is returned, as np.sum does with small integers."""

    wider = {"float16": "float32", "float32": "float64", "int32": "int64"}

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        result = einsum(equation, *operands)
        return cast(result, self.wider.get(name_dtype(result), name_dtype(result)))


@fault(
    "output_transposed",
    shape=[
        "einsum/products::matrix_product[einsum-float32]",
        "einsum/batched_products::floats[einsum-optimized-float32]",
        "seeds/seed_000_einsum::rows_by_rows_transposed[einsum-float32]",
    ],
    values=[
        "seeds/seed_000_einsum::attention_scores[einsum-float32]",
    ],
)
class OutputTransposed(CustomEinsum):
    """The product is computed as its transpose, B'A', and the transposition of the result is forgotten."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        result = einsum(equation, *operands)
        return result.swapaxes(-1, -2) if result.ndim > 1 and len(operands) > 1 else result


@fault(
    "column_major_read_as_row_major",
    values=[
        "einsum/products::matrix_product[einsum-float32]",
        "einsum/outer_products::of_vectors[einsum-optimized-float32]",
        "seeds/seed_000_einsum::attention_scores[einsum-float32]",
    ],
    exact=[
        "seeds/seed_000_einsum::outer_of_matrices[einsum-int64]",
        "seeds/seed_000_einsum::batched_product_second_slice[einsum-int32]",
    ],
)
class ColumnMajorReadAsRowMajor(CustomEinsum):
    """The buffer that a Fortran routine filled by columns is read by rows: the right shape, and other elements."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        result = np.asarray(einsum(equation, *operands))
        return result.ravel(order="F").reshape(result.shape)


@fault(
    "scalar_with_an_axis",
    shape=[
        "einsum/products::inner[einsum-float32]",
        "einsum/products::inner[einsum-optimized-float32]",
        "einsum/reductions::of_vector[einsum-float32]",
        "einsum/traces::of_matrix[einsum-float16]",
        "einsum/scalars::identity[einsum-float32]",
    ],
)
class ScalarWithAnAxis(CustomEinsum):
    """A full contraction has shape (1,), as a kernel that writes into a buffer leaves it."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        result = einsum(equation, *operands)
        return result if len(result.shape) else result[None]


@fault(
    "diagonal_as_outer_product",
    shape=[
        "einsum/products::row_dots[einsum-float32]",
        "einsum/products::elementwise[einsum-float32]",
        "einsum/batched_products::floats[einsum-optimized-float32]",
        "einsum/diagonals::of_matrix[einsum-float32]",
        "seeds/seed_000_einsum::diagonal[einsum-float32]",
    ],
)
class DiagonalAsOuterProduct(CustomEinsum):
    """`ij,ij->i` computed as A B', of which it is the diagonal: a repeated label of the output is taken for two."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        terms, output, free_labels = make_explicit(equation, operands)
        used: set[str] = set()

        def relabel(label: str) -> str:
            repeated = label in used and label in output and label != ELLIPSIS
            used.add(label)
            return next(free_labels) if repeated else label

        terms = [tuple(relabel(label) for label in term) for term in terms]
        new_labels = [label for term in terms for label in term if label not in used]
        return einsum(format_equation(terms, (*output, *new_labels)), *operands)


@fault(
    "repeated_label_summed",
    values=[
        "einsum/diagonals::of_matrix[einsum-float32]",
        "einsum/diagonals::of_three[einsum-optimized-float32]",
        "einsum/diagonals::of_two_pairs[einsum-float32]",
        "einsum/ellipsis::diagonal[einsum-float32]",
        "seeds/seed_000_einsum::diagonal[einsum-float32]",
    ],
)
class RepeatedLabelSummed(CustomEinsum):
    """`ii->i` computed as `ij->i`: in an operand that repeats a label, its second axis is summed on its own."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        terms, output, free_labels = make_explicit(equation, operands)
        relabeled = [
            tuple(next(free_labels) if label in term[:axis] else label for axis, label in enumerate(term))
            for term in terms
        ]
        return einsum(format_equation(relabeled, output), *operands)


@fault(
    "ellipsis_aligned_from_the_left",
    raised=[
        "einsum/ellipsis_broadcasting::differing_ranks[einsum-float32]",
        "einsum/ellipsis_broadcasting::differing_ranks[einsum-optimized-float32]",
        "einsum/ellipsis_broadcasting::elementwise[einsum-float32]",
    ],
)
class EllipsisAlignedFromTheLeft(CustomEinsum):
    """Unnamed axes are matched from the first one, where broadcasting matches them from the last."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        terms, _ = parse(equation)
        ranks = [x.ndim - len(term) + 1 if ELLIPSIS in term else 0 for term, x in zip(terms, operands, strict=True)]

        def align(term: Term, x: Array, rank: int) -> Array:
            first = term.index(ELLIPSIS)
            return np.expand_dims(x, tuple(range(first + rank, first + max(ranks))))

        triples = zip(terms, operands, ranks, strict=True)
        return einsum(equation, *(align(term, x, rank) if ELLIPSIS in term else x for term, x, rank in triples))


@fault(
    "implicit_output_by_appearance",
    shape=[
        "einsum/implicit_output::transposed_by_its_letters[einsum-float32]",
        "einsum/implicit_output::chain_written_backwards[einsum-optimized-float32]",
        "einsum/ellipsis_implicit::axes_last[einsum-float32]",
    ],
)
class ImplicitOutputByAppearance(CustomEinsum):
    """Without an arrow, labels come out in the order in which they appear, not in that of the alphabet."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        terms, output = parse(equation)
        labels = [label for term in terms for label in term]
        unique = tuple(label for label in dict.fromkeys(labels) if label == ELLIPSIS or labels.count(label) == 1)
        return einsum(format_equation(list(terms), unique if output is None else output), *operands)


# Equations that should have been refused ------------------------------------------------------------------------------


@fault(
    "mismatched_sizes_truncated",
    accepted=[
        "seeds/seed_001::as_written[einsum-float32]",
        "invalid/einsum::size_mismatch[einsum-float32]",
        "invalid/size_mismatch::in_diagonal[einsum-optimized-float32]",
        "invalid/size_mismatch::in_batch[einsum-float32]",
    ],
)
class MismatchedSizesTruncated(CustomEinsum):
    """A label's loop runs to the smallest of its sizes, as zip and np.diagonal do; seed 001 takes one label for two."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        terms, _ = parse(equation)
        if ELLIPSIS in equation or [len(term) for term in terms] != [x.ndim for x in operands]:
            return einsum(equation, *operands)
        pairs = [pair for term, x in zip(terms, operands, strict=True) for pair in zip(term, x.shape, strict=True)]
        smallest = {
            label: min((size for other, size in pairs if other == label and size != 1), default=1) for label, _ in pairs
        }
        truncated = [
            x[tuple(slice(smallest[label]) for label in term)] for term, x in zip(terms, operands, strict=True)
        ]
        return einsum(equation, *truncated)


@fault(
    "output_labels_overlooked",
    accepted=[
        "invalid/output::unknown_label[einsum-float32]",
        "invalid/einsum::repeated_output_label[einsum-optimized-float32]",
    ],
)
class OutputLabelsOverlooked(CustomEinsum):
    """Labels of the output that no operand has, or that it repeats, are silently left out."""

    def contract(self, einsum: Einsum, equation: str, *operands: Array) -> Array:
        terms, output = parse(equation)
        known_labels = {label for term in terms for label in term}
        if output is not None:
            output = tuple(label for label in dict.fromkeys(output) if label in known_labels)
            equation = format_equation(list(terms), output)
        return einsum(equation, *operands)
