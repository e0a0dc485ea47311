"""Faults behind torch, JAX and TensorFlow, each in one place: what a tier must not leave out altogether."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faulty.faults import FAULTS
from tests.faulty.planting import Planting, make_planting

# fault, backend, implementation, mode, dtype, direction; * is any
PLACES = """
mask_inverted                         torch       einsum                 eager  float16   forward
causal_hides_own_key                  torch       matmul                 eager  *         grad
causal_dropped_with_mask              torch       sdpa                   eager  float32   forward
window_one_too_wide                   torch       flex                   eager  *         forward
mask_of_first_item                    torch       einsum                 eager  *         grad
lengths_ignored                       torch       sdpa-math              eager  *         forward
mask_inverted                         jax         matmul                 jit    *         grad
causal_shows_next_key                 jax         einsum                 eager  *         forward
masked_after_softmax                  jax         einsum                 jit    *         forward
bottom_right_as_top_left              jax         dot-product-attention  jit    bfloat16  forward
causal_hides_own_key                  tensorflow  einsum                 jit    *         forward
lengths_off_by_one                    tensorflow  matmul                 eager  *         forward

softcap_before_bias                   torch       matmul                 eager  *         forward
scale_missing                         jax         dot-product-attention  jit    float32   forward
scale_twice                           jax         matmul                 eager  bfloat16  grad
softmax_over_queries                  jax         matmul                 jit    bfloat16  grad
softcap_missing                       jax         matmul                 jit    *         forward
sink_ignored                          jax         einsum                 eager  *         forward
scores_squared                        tensorflow  matmul                 jit    *         grad
bias_before_scale                     tensorflow  einsum                 eager  *         forward
scale_always_from_head_dim            tensorflow  keras                  eager  float16   forward

rotary_pairs_swapped                  torch       sdpa-flash             eager  *         grad
rotary_turns_keys_backwards           jax         matmul                 jit    *         forward
cache_of_keys_for_values              jax         einsum                 jit    *         grad
window_dropped_with_causal            jax         dot-product-attention  jit    *         forward
lengths_ignored                       tensorflow  einsum                 jit    *         grad
cache_behind_new_keys                 tensorflow  matmul                 jit    *         forward

shared_heads_interleaved              torch       matmul                 eager  bfloat16  forward
key_and_value_swapped                 jax         matmul                 eager  float16   forward
shared_heads_interleaved              jax         einsum                 jit    *         grad
output_bias_dropped                   jax         matmul                 jit    *         forward
heads_merged_before_transposing       tensorflow  matmul                 eager  *         grad

bfloat16_behind_float32               jax         einsum                 eager  float32   forward
bfloat16_behind_float32               jax         einsum                 jit    float32   forward
scale_in_bfloat16                     jax         dot-product-attention  jit    float32   forward
scale_off_in_the_sixth_digit          jax         einsum                 jit    float32   forward
float64_through_float32               jax         einsum                 jit    float64   grad
weights_in_bfloat16                   tensorflow  einsum                 eager  float32   forward
integers_through_float32              tensorflow  keras                  jit    *         forward

promoted_in_the_narrower              jax         einsum                 jit    *         forward
asked_for_at_the_end                  jax         einsum                 eager  *         forward
asked_for_at_the_end                  jax         einsum                 jit    int32     forward
output_dtype_widened                  tensorflow  keras                  jit    float16   forward
output_dtype_widened                  torch       einsum                 eager  int32     forward

gradients_of_key_and_value_exchanged  torch       sdpa                   eager  bfloat16  grad
gradient_leaks_through_the_mask       torch       sdpa-math              eager  *         grad
cotangent_ignored                     jax         matmul                 jit    bfloat16  grad
gradients_of_key_and_value_exchanged  jax         dot-product-attention  eager  *         grad
causal_gradient_aligned_top_left      jax         matmul                 jit    *         grad
scale_missing_in_gradient_of_key      jax         einsum                 eager  *         grad
gradient_of_mask_missing              tensorflow  matmul                 eager  *         grad
cotangent_ignored                     tensorflow  keras-multihead        jit    bfloat16  grad
gradient_leaks_through_the_mask       tensorflow  einsum                 eager  *         grad

term_dropped_from_sum                 torch       einsum                 eager  bfloat16  grad
left_factor_conjugated                torch       einsum                 eager  complex64 grad
term_dropped_from_sum                 jax         einsum                 eager  *         grad
diagonal_as_outer_product             jax         einsum                 jit    *         grad
output_transposed                     jax         einsum-unoptimized     jit    *         grad
implicit_output_by_appearance         jax         einsum                 eager  *         forward
output_labels_overlooked              jax         einsum                 jit    *         forward
repeated_label_summed                 tensorflow  einsum                 jit    *         grad
term_dropped_from_sum                 tensorflow  keras                  eager  float16   forward
scalar_with_an_axis                   tensorflow  einsum                 eager  float16   forward

softmax_over_queries                  torch       matmul                 export *         grad
causal_hides_own_key                  torch       sdpa                   export *         forward
term_dropped_from_sum                 torch       einsum                 export *         grad
scale_missing                         torch       matmul                 dynamic *        forward
output_transposed                     torch       einsum                 dynamic *        forward
term_dropped_from_sum                 tensorflow  einsum                 dynamic *        grad
repeated_label_summed                 tensorflow  einsum                 dynamic *        forward
scale_missing                         jax         dot-product-attention  constant *       forward
masked_after_softmax                  jax         einsum                 constant *       forward
diagonal_as_outer_product             jax         einsum                 constant *       forward
"""


def _plantings() -> Iterator[Planting]:
    faults = {fault.name: fault for fault in FAULTS}
    for line in filter(None, PLACES.splitlines()):
        name, place = line.split(maxsplit=1)
        yield make_planting(faults[name], place)


PLANTINGS = list(_plantings())
