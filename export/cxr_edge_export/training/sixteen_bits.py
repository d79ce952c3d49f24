"""Whether computing in 16 bits gains anything here: timed, since no backend says so of every processor."""

import time

import numpy as np

from cxr_edge_export.training.backend import keras_module

SIDE = 512  # of the matrices; torch without such arithmetic falls back to plain loops only from some size on
TIMES = 3  # the quickest counts
NOISE = 1.5  # a ratio below it may be chance: other programs run beside this one


def describe_slow_16_bits(precision: str) -> str:
    """In words, for a person, that a `precision` is slower here than float32; empty where it is not."""
    if precision == "float32":
        return ""
    ratio = seconds_of_product(precision) / seconds_of_product("float32")
    if ratio < NOISE:
        return ""
    return (
        f"training.precision is {precision}, and a product of matrices takes {ratio:.1f} times as long in it as in "
        'float32 on this machine: without it (precision = "float32") training will be faster'
    )


def seconds_of_product(dtype: str) -> float:
    """Of two matrices of 512 x 512 numbers, by Keras' backend, on the device that it trains on."""
    ops = keras_module().ops
    numbers = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    matrix = ops.cast(ops.convert_to_tensor(numbers), dtype)
    taken = []
    for _ in range(TIMES + 1):  # the first sets up
        start = time.perf_counter()
        # what is read back has been computed
        ops.convert_to_numpy(ops.cast(ops.matmul(matrix, matrix)[0, 0], "float32"))
        taken.append(time.perf_counter() - start)
    return min(taken[1:])
