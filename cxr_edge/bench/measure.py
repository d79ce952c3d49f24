"""The measurements: candidates in strict alternation, so that what disturbs the machine disturbs all of them."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from cxr_edge.bench.candidates import Candidate
from cxr_edge.bench.percentiles import percentiles
from cxr_edge.bench.report import Excluded, Stages, Throughput
from cxr_edge.classifier import Classifier
from cxr_edge.engine import Engine
from cxr_edge.errors import InputError
from cxr_edge.prepare import Prepared, Preparer
from cxr_edge.types import Latency, Prediction

T = TypeVar("T")
Progress = Callable[[Iterable[T], str, int], Iterable[T]]
STAGES = ("read", "decode", "preprocess", "inference", "total")
RUNS = 3  # over many images, and sessions created, of each candidate
LEAST_BATCHES = 5


def vet(classifier: Classifier, paths: Sequence[str]) -> tuple[tuple[str, ...], tuple[Excluded, ...]]:
    """Classify each image once, which warms caches and codecs: those that work, and those that do not."""
    good: list[str] = []
    excluded: list[Excluded] = []
    for path in paths:
        try:
            classifier.classify(path)
        except InputError as error:
            excluded.append(Excluded(path=path, reason=error.reason.value, message=str(error)))
        else:
            good.append(path)
    return tuple(good), tuple(excluded)


def alternate(
    candidates: Sequence[Candidate], paths: Sequence[str], rounds: int, progress: Progress[int]
) -> list[list[Prediction]]:
    """Classify each image with each candidate in turn, `rounds` times; returns each candidate's results.

    Raises:
        InputError: an image that worked before does not any more.
    """
    for candidate, path in itertools.product(candidates, paths[:1]):
        candidate.classifier.classify(path)  # warm-up
    results: list[list[Prediction]] = [[] for _ in candidates]
    for number in progress(range(rounds), "latency", rounds):
        for path in paths:
            for index in _turned(len(candidates), number):
                results[index].append(candidates[index].classifier.classify(path))
    return results


def stages(latencies: Sequence[Latency]) -> Stages:
    """Percentiles by stage."""
    return Stages(**{name: percentiles([getattr(one, f"{name}_ms") for one in latencies]) for name in STAGES})


def many(candidates: Sequence[Candidate], paths: Sequence[str], images: int, progress: Progress[int]) -> list[float]:
    """Images per second of each candidate's `classify_many`: the median of three runs over `images` files in turn."""
    files = list(itertools.islice(itertools.cycle(paths), images))
    times: list[list[float]] = [[] for _ in candidates]
    for number in progress(range(RUNS), "many images", RUNS):
        for index in _turned(len(candidates), number):
            started = perf_counter()
            for _ in candidates[index].classifier.classify_many(files):
                pass
            times[index].append(perf_counter() - started)
    return [images / median(seconds) for seconds in times]


def sessions(
    candidates: Sequence[Candidate], provider: str, progress: Progress[int]
) -> tuple[list[Engine], list[float]]:
    """An engine for each candidate, and the median milliseconds that creating one took."""
    times: list[list[float]] = [[] for _ in candidates]
    engines: dict[int, Engine] = {}
    for number in progress(range(RUNS), "session creation", RUNS):
        for index in _turned(len(candidates), number):
            engines.pop(index, None)  # two of one candidate at a time would double its memory
            started = perf_counter()
            engines[index] = Engine(
                candidates[index].file.content, provider=provider, threads=candidates[index].threads
            )
            times[index].append((perf_counter() - started) * 1e3)
    return [engines[index] for index in range(len(candidates))], [median(values) for values in times]


def throughput(
    candidates: Sequence[Candidate],
    engines: Sequence[Engine],
    path: str,
    plan: tuple[int, int],
    progress: Progress[int],
) -> list[tuple[Throughput, ...]]:
    """Inference alone at batch 1 and at a larger batch, candidates and batch sizes in turn.

    Args:
        candidates: for their contracts.
        engines: one for each candidate.
        path: the image whose tensors fill the batches.
        plan: the larger batch size, and how many images each batch size takes at least.
        progress: shows how far it is.
    """
    sizes, images = tuple(dict.fromkeys((1, plan[0]))), plan[1]
    runs = [
        [_batch(candidate, engine, path, size) for size in sizes]
        for candidate, engine in zip(candidates, engines, strict=True)
    ]
    for run in itertools.chain.from_iterable(runs):
        run()  # warm-up: the first run of a batch size allocates
    rounds = max(LEAST_BATCHES, images // max(sizes))
    times: list[list[list[float]]] = [[[] for _ in sizes] for _ in runs]
    for number in progress(range(rounds), "throughput", rounds):
        for index in _turned(len(runs), number):
            for at, run in enumerate(runs[index]):
                started = perf_counter()
                run()
                times[index][at].append(perf_counter() - started)
    return [
        tuple(
            Throughput(batch=size, images_per_second=size / median(spent))
            for size, spent in zip(sizes, of_candidate, strict=True)
        )
        for of_candidate in times
    ]


def _batch(candidate: Candidate, engine: Engine, path: str, size: int) -> Callable[[], Any]:
    contract = candidate.classifier.contract
    prepared = Preparer(contract, "off").prepare(path)
    if not isinstance(prepared, Prepared):  # it worked a moment ago
        raise InputError(prepared.reason, prepared.message)
    tensors = {name: np.repeat(tensor, size, axis=0) for name, tensor in prepared.tensors.items()}
    names = contract.outputs
    wanted = tuple(name for name in (names.probabilities, names.activation_map, names.features) if name is not None)
    return lambda: engine.run(tensors, wanted)


def _turned(count: int, number: int) -> Iterable[int]:
    """Another candidate begins each round: who follows whom matters to caches and clock rates."""
    return ((number + index) % count for index in range(count))
