"""Percentiles, and when there are too few measurements for one."""

from collections.abc import Sequence

import numpy as np

from cxr_edge.bench.report import Percentiles

ENOUGH_FOR_P95, ENOUGH_FOR_P99 = 20, 100  # below, it would lie beyond the last but one measurement


def percentiles(values: Sequence[float]) -> Percentiles:
    """p50, p95 and p99 by linear interpolation between order statistics (Hyndman and Fan 1996, type 7).

    Args:
        values: at least one.
    """
    p50, p95, p99 = (float(value) for value in np.percentile(np.asarray(values, np.float64), (50, 95, 99)))
    count = len(values)
    return Percentiles(
        measurements=count,
        p50=p50,
        p95=p95 if count >= ENOUGH_FOR_P95 else None,
        p99=p99 if count >= ENOUGH_FOR_P99 else None,
    )
