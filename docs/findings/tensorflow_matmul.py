"""TensorFlow: the product of (batch, 1, n, d) and one weight reads and writes beyond its tensors.

Since oneDNN is used by default (x86), tf.matmul in float32 and bfloat16 takes a weight without batch axes, (d, d) or
(1, d, d), for one with as many items as the batch if the second of four axes has size one.  All but the first item of
the result are other numbers or zeros, and the process may end in SIGSEGV or SIGABRT.  Seen with tensorflow 2.21.0; with
TF_ENABLE_ONEDNN_OPTS=0 every result is right.  Reported as https://github.com/tensorflow/tensorflow/issues/123109,
mended after 2.21 by https://github.com/tensorflow/tensorflow/pull/120199.
"""

import numpy as np
import tensorflow as tf

x = np.ones((3, 1, 64, 64), np.float32)
weight = np.ones((1, 64, 64), np.float32)

print("tensorflow", tf.__version__)
print("expected", (x @ weight)[:, 0, 0, 0])  # 64 in each item of the batch
print("got     ", (tf.constant(x) @ tf.constant(weight)).numpy()[:, 0, 0, 0])
