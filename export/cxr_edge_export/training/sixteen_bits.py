"""Whether computing in 16 bits gains anything here: timed, since no backend says so of every processor."""

from collections.abc import Callable
from time import perf_counter

import numpy as np

from cxr_edge_export.training.backend import keras_module

SIDE = 512  # of the matrices; torch without such arithmetic falls back to plain loops only from some size on
PRODUCTS = 4  # of them per reading, so that a GPU's own work counts beside the calls
ROUNDS = 6  # the quickest counts; the first sets up
NOISE = 1.5  # a ratio below it may be chance: other programs run beside this one


def describe_slow_16_bits(precision: str) -> str:
    """In words, for a person, that a `precision` is slower here than float32; empty where it is not."""
    if precision == "float32":
        return ""
    ratio = times_as_long(precision)
    if ratio < NOISE:
        return ""
    return (
        f"training.precision is {precision}, and a product of matrices takes {ratio:.1f} times as long in it as in "
        'float32 on this machine: training is probably faster with precision = "float32"'
    )


def times_as_long(dtype: str) -> float:
    """How much longer products of matrices take than in float32, on the device that Keras' backend trains on.

    Both in turns: what else the machine does falls on both.
    """
    readings = {name: products_in(name) for name in (dtype, "float32")}
    taken = dict.fromkeys(readings, float("inf"))
    for number in range(ROUNDS):
        for name, product in readings.items():
            start = perf_counter()
            product()
            seconds = perf_counter() - start
            if number:
                taken[name] = min(taken[name], seconds)
    return taken[dtype] / taken["float32"]


def products_in(dtype: str) -> Callable[[], object]:
    """A function that multiplies matrices, and ends when that is done; it returns one number of the last product."""
    ops = keras_module().ops
    # with this mean the products' mean is the same, whatever their number
    numbers = np.random.default_rng(0).random((SIDE, SIDE), np.float32) * 2 / SIDE
    matrix = ops.cast(ops.convert_to_tensor(numbers), dtype)

    def product() -> object:
        found = matrix
        for _ in range(PRODUCTS):
            found = ops.matmul(found, matrix)
        return ops.convert_to_numpy(ops.cast(found[0, 0], "float32"))  # what is read back has been computed

    return product
