# SPDX-License-Identifier: Apache-2.0
"""ATen op -> how it becomes layers."""

from __future__ import annotations

from mpsearch.graph import lower_elementwise as elementwise
from mpsearch.graph import lower_movement as movement
from mpsearch.graph import lower_pools as pools
from mpsearch.graph import lower_weights as weights
from mpsearch.graph.lower import Rule

LOWERINGS: dict[str, Rule] = {
    "conv1d": weights.lower_conv,
    "conv2d": weights.lower_conv,
    "linear": weights.lower_linear,
    "matmul": weights.lower_matmul,
    "mm": weights.lower_matmul,
    "_native_batch_norm_legit_no_training": weights.lower_batch_norm,
    "relu": elementwise.lower_unary("relu"),
    "relu6": elementwise.lower_unary("relu6"),
    "leaky_relu": elementwise.lower_unary("leaky_relu", "negative_slope"),
    "hardswish": elementwise.lower_unary("hardswish"),
    "hardsigmoid": elementwise.lower_unary("hardsigmoid"),
    "sigmoid": elementwise.lower_unary("sigmoid"),
    "tanh": elementwise.lower_unary("tanh"),
    "silu": elementwise.lower_unary("silu"),
    "gelu": elementwise.lower_gelu,
    "hardtanh": elementwise.lower_clamp,
    "clamp": elementwise.lower_clamp,
    "clamp_min": elementwise.lower_clamp,
    "add": elementwise.lower_add,
    "sub": elementwise.lower_sub,
    "rsub": elementwise.lower_rsub,
    "mul": elementwise.lower_mul,
    "div": elementwise.lower_div,
    "neg": elementwise.lower_neg,
    "max_pool1d": pools.lower_max_pool,
    "max_pool2d": pools.lower_max_pool,
    "max_pool2d_with_indices": lambda low, arguments: (pools.lower_max_pool(low, arguments),),
    "avg_pool1d": pools.lower_avg_pool,
    "avg_pool2d": pools.lower_avg_pool,
    "adaptive_avg_pool1d": pools.lower_adaptive_avg_pool,
    "adaptive_avg_pool2d": pools.lower_adaptive_avg_pool,
    "_adaptive_avg_pool2d": pools.lower_adaptive_avg_pool,
    "mean": pools.lower_mean,
    "pad": movement.lower_pad,
    "constant_pad_nd": movement.lower_pad,
    "slice": movement.lower_slice,
    "select": movement.lower_select,
    "split": movement.lower_split,
    "split_with_sizes": movement.lower_split,
    "chunk": movement.lower_split,
    "cat": movement.lower_concat,
    "concat": movement.lower_concat,
    "view": movement.lower_reshape,
    "reshape": movement.lower_reshape,
    "_unsafe_view": movement.lower_reshape,
    "flatten": movement.lower_flatten,
    "permute": movement.lower_permute,
    "transpose": movement.lower_swap,
    "unsqueeze": movement.lower_unsqueeze,
    "squeeze": movement.lower_squeeze,
    "expand": movement.lower_expand,
    **dict.fromkeys(("clone", "contiguous", "alias", "detach", "dropout", "feature_dropout", "lift_fresh_copy", "identity"), movement.lower_identity),
}
"""ATen op -> how it becomes layers."""
