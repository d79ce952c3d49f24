"""One benchmark from the first session to the report."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cxr_edge._version import __version__
from cxr_edge.bench.candidates import Candidate, float_path, open_candidate, open_candidates, refuse_another_model
from cxr_edge.bench.labelled import measure_labelled
from cxr_edge.bench.measure import Progress, alternate, many, sessions, stages, throughput, vet
from cxr_edge.bench.memory import peak_memory
from cxr_edge.bench.percentiles import ENOUGH_FOR_P95, ENOUGH_FOR_P99
from cxr_edge.bench.report import REPORT_VERSION, STATEMENT, Excluded, Figures, Images, Memory, Report
from cxr_edge.errors import InputError, Reason
from cxr_edge.labelled import LabelledImage
from cxr_edge.modelfile import ModelFile, read_model
from cxr_edge.qualification.fingerprint import fingerprint

MANY_IMAGES = 32  # files to results by `classify_many`, at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        model: the model asked for.
        paths: images to measure on.
        description: what they are, in words.
        labelled: images with labels; empty where there are none.
        compare_float: whether the float model beside the model is measured, too.
        provider: as `cxr_edge.load` takes it.
        threads: numbers of inference threads, rising.
        rounds: how often each image is classified by each candidate; None for enough for p99.
        batch: the larger batch size.
    """

    model: ModelFile
    paths: tuple[str, ...]
    description: str
    labelled: tuple[LabelledImage, ...] = ()
    compare_float: bool = False
    provider: str = "auto"
    threads: tuple[int, ...]
    rounds: int | None = None
    batch: int = 8


def _silent(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:  # noqa: ARG001 - the shape of a `Progress`
    return items


def bench(plan: Plan, progress: Progress[Any] = _silent) -> Report:
    """Measure.

    Args:
        plan: what.
        progress: wraps what is gone through, with a word for it and its length, to show how far it is.

    Raises:
        ModelError: a model cannot be used, its self-test failed, or the float model is missing.
        ProviderError: the provider is not to be had.
        InputError: not one image can be classified; the reason is the first one's.
        UsageError: the model asked for is float already and was to be compared with its float form, or none of the
            labelled images can be classified.
    """
    others = [float_path(plan.model)] if plan.compare_float else []
    first = open_candidate(plan.model, plan.provider, plan.threads[-1])
    paths, excluded = vet(first.classifier, plan.paths)
    _refuse_none(paths, excluded)
    peak, source = peak_memory()  # before any other session adds its own
    del first
    files = [plan.model, *map(read_model, others)]
    candidates = open_candidates(files, plan.provider, plan.threads)
    widest = candidates[len(plan.threads) - 1 :: len(plan.threads)]  # one of each model, with the most threads
    if plan.compare_float:
        refuse_another_model(*widest)
    rounds = plan.rounds or -(-ENOUGH_FOR_P99 // len(paths))
    figures = _figures(plan, candidates, paths, rounds, progress)
    labelled = measure_labelled(widest, plan.labelled, progress) if plan.labelled else None
    return Report(
        report_version=REPORT_VERSION,
        statement=STATEMENT,
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        software=__version__,
        machine=_machine(candidates[0]),
        images=Images(description=plan.description, measured=len(paths), rounds=rounds, excluded=excluded),
        figures=figures,
        memory=Memory(peak_bytes=peak, peak_bytes_at_end=peak_memory()[0], source=source),
        labelled=labelled,
        notes=tuple(_notes(candidates, rounds * len(paths))),
    )


def _refuse_none(paths: tuple[str, ...], excluded: tuple[Excluded, ...]) -> None:
    if not paths:
        reason = Reason(excluded[0].reason) if excluded else Reason.NOT_FOUND
        message = f"none of the {len(excluded)} images can be classified; the first: {excluded[0].message}"
        raise InputError(reason, message)


def _figures(
    plan: Plan, candidates: tuple[Candidate, ...], paths: tuple[str, ...], rounds: int, progress: Progress[Any]
) -> tuple[Figures, ...]:
    results = alternate(candidates, paths, rounds, progress)
    flowing = many(candidates, paths, max(MANY_IMAGES, len(paths)), progress)
    engines, creation_ms = sessions(candidates, plan.provider, progress)
    rates = throughput(candidates, engines, paths[0], (plan.batch, rounds * len(paths)), progress)
    return tuple(
        Figures(
            model=candidate.classifier.model,
            scheme=candidate.scheme,
            threads=candidate.threads,
            execution_provider=candidate.classifier.execution_provider,
            session_creation_ms=creation_ms[index],
            latency_ms=stages([answer.latency for answer in results[index]]),
            inference=rates[index],
            many_images_per_second=flowing[index],
        )
        for index, candidate in enumerate(candidates)
    )


def _machine(candidate: Candidate) -> dict[str, str]:
    found = fingerprint(candidate.file.sha256, candidate.classifier.execution_provider)
    left_out = ("model_sha256", "execution_provider", "cxr_edge")  # they stand elsewhere in the report
    return {name: value for name, value in found.items() if name not in left_out}


def _notes(candidates: tuple[Candidate, ...], measurements: int) -> Iterable[str]:
    yield from dict.fromkeys(note.message for candidate in candidates for note in candidate.classifier.notices)
    if measurements < ENOUGH_FOR_P95:
        yield f"{measurements} measurements are too few for p95 (need {ENOUGH_FOR_P95}) and p99 (need {ENOUGH_FOR_P99})"
    elif measurements < ENOUGH_FOR_P99:
        yield f"{measurements} measurements are too few for p99 (need {ENOUGH_FOR_P99})"
