"""The machine's INT8 peak: the best of several large u8 x s8 matrix products, in GMAC/s.

    python benchmarks/peak.py [--threads 2]

The product is onnxruntime's own MatMulInteger, so the figure is what its best kernel reaches on this CPU, not what a
data sheet promises.
"""

import argparse
import time

import numpy as np
import onnx
import onnxruntime
from machine import print_table, write_result

SHAPES = ((512, 2048, 2048), (1024, 1024, 1024), (2048, 2048, 512), (3136, 576, 256), (784, 1152, 512))
SECONDS = 0.6


def int8_peak_gmacs(threads: int) -> float:
    """The best rate over all shapes, in 10^9 multiply-accumulates a second."""
    return max(_rate(shape, threads) for shape in SHAPES)


def _rate(shape: tuple[int, int, int], threads: int) -> float:
    m, k, n = shape
    rng = np.random.default_rng(0)
    weights = rng.integers(-64, 64, (k, n), np.int8)
    session = _session(weights, threads)
    left = rng.integers(0, 256, (m, k), np.uint8)
    session.run(None, {"a": left})
    best, ends = np.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < ends:
        started = time.perf_counter()
        session.run(None, {"a": left})
        best = min(best, time.perf_counter() - started)
    return m * k * n / best / 1e9


def _session(weights: "np.ndarray[tuple[int, int], np.dtype[np.int8]]", threads: int) -> onnxruntime.InferenceSession:
    helper = onnx.helper
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    graph = helper.make_graph(
        [node],
        "peak",
        [helper.make_tensor_value_info("a", onnx.TensorProto.UINT8, [None, weights.shape[0]])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [None, weights.shape[1]])],
        [onnx.numpy_helper.from_array(weights, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def main() -> None:
    """Print the rate of each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rates = {str(shape): round(_rate(shape, options.threads), 1) for shape in SHAPES}
    print_table([{"m x k x n": shape, "GMAC/s": rate} for shape, rate in rates.items()])
    if options.json:
        write_result("peak", {"threads": options.threads, "gmacs": rates})


if __name__ == "__main__":
    main()
