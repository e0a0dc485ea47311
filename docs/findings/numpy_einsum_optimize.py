"""NumPy: np.einsum with optimize=True sums an axis of one operand in that operand's dtype, whatever dtype is asked for.

Since 2.4 the optimized path of two operands first sums the axes that only one of them has, in float16 here, and only
then converts.  The error is that of float16; without optimize=True, and in versions before 2.4, it is that of float32.
Seen with numpy 2.4.6 and 2.5.5; right in 1.26.4, 2.2.6 and 2.3.5.
"""

import numpy as np

x = np.random.default_rng(0).standard_normal((5, 2, 5, 3)).astype(np.float16)
scale = np.asarray(0.3, np.float32)
exact = np.einsum("dacb,->cd", x.astype(np.float64), np.float64(scale))

print("numpy", np.__version__)
for optimize in (False, True):
    result = np.einsum("dacb,->cd", x, scale, dtype=np.float32, optimize=optimize)
    print(f"optimize={optimize}: {result.dtype}, largest error {abs(result - exact).max():.1e}")
