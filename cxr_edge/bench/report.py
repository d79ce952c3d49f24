"""What a benchmark says: frozen values, written as they are into JSON (docs/reference/bench.md)."""

from dataclasses import dataclass

from cxr_edge.types import Interval, ModelIdentity, OperatingPoint

REPORT_VERSION = 1
STATEMENT = "Not a medical device."


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Percentiles of repeated measurements, by linear interpolation between them (Hyndman and Fan's type 7).

    Attributes:
        measurements: how many there were.
        p50: the median.
        p95: None with fewer than 20 measurements: it would be an extrapolation.
        p99: None with fewer than 100 measurements.
    """

    measurements: int
    p50: float
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Wall-clock milliseconds of one image, by stage; `total` also holds what lies between the stages."""

    read: Percentiles
    decode: Percentiles
    preprocess: Percentiles
    inference: Percentiles
    total: Percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Inference alone, batches of ready tensors: `images_per_second` from the median time of a batch."""

    batch: int
    images_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One model with one number of threads.

    Attributes:
        model: which file.
        scheme: of its quantization; `none` is float32.
        threads: intra-operator threads of the session.
        execution_provider: onnxruntime's name of the provider that really ran.
        session_creation_ms: median time from the model's bytes to a session, onnxruntime being imported already.
        latency_ms: of one image after the other.
        inference: throughput of inference alone.
        many_images_per_second: files to results by `classify_many`, decoding overlapped with inference, no isolation.
    """

    model: ModelIdentity
    scheme: str
    threads: int
    execution_provider: str
    session_creation_ms: float
    latency_ms: Stages
    inference: tuple[Throughput, ...]
    many_images_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """A file that was not measured, and why."""

    path: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What was measured on.

    Attributes:
        description: in words.
        measured: how many images.
        rounds: how often each was classified by each candidate.
        excluded: files that were rejected.
    """

    description: str
    measured: int
    rounds: int
    excluded: tuple[Excluded, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Peak memory of this process.

    Attributes:
        peak_bytes: after each image went once through one session of the model asked for.
        peak_bytes_at_end: after everything, with the sessions of all candidates.
        source: where the system says so.
    """

    peak_bytes: int
    peak_bytes_at_end: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """One model on the labelled images, all candidates at the same operating point; intervals are Wilson's, 95 %.

    Attributes:
        model: which file.
        scheme: of its quantization.
        accuracy: of positive or negative; None, as any share, where it is not defined.
        accuracy_over_all_labels: share of images given their true label; None with two labels, where it is the same.
        auc: area under the ROC curve; None where a class is absent.
        inference_ms: of these images.
        total_ms: of these images.
    """

    model: ModelIdentity
    scheme: str
    accuracy: Interval | None
    accuracy_over_all_labels: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None
    auc: float | None
    inference_ms: Percentiles
    total_ms: Percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Decisions of the model asked for against those of the float model; a flip goes from float to quantized.

    Attributes:
        same: images on which both decide the same.
        positive_to_negative: the float model finds it, the other misses it.
        negative_to_positive: the other way round.
        same_label: images on which both give the same label; None with two labels, where it is `same`.
        score_difference_p50: median absolute difference of the scores.
        score_difference_max: the largest.
    """

    same: int
    positive_to_negative: int
    negative_to_positive: int
    same_label: int | None
    score_difference_p50: float
    score_difference_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What the labelled images say.

    Attributes:
        images: measured, by all candidates.
        excluded: rejected, by at least one.
        operating_point: of the model asked for; applied to every candidate.
        accuracy: of each candidate.
        agreement: None without a float model to compare with.
    """

    images: int
    excluded: tuple[Excluded, ...]
    operating_point: OperatingPoint
    accuracy: tuple[Accuracy, ...]
    agreement: Agreement | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A benchmark.

    Attributes:
        report_version: of this layout.
        statement: "Not a medical device."
        created: ISO 8601 in UTC.
        software: this package's version.
        machine: processor, its flags, system, versions.
        images: what was measured on.
        figures: of each candidate, those of the model asked for first, threads rising.
        memory: of this process.
        labelled: None where no labelled images were given.
        notes: what a reader has to know.
    """

    report_version: int
    statement: str
    created: str
    software: str
    machine: dict[str, str]
    images: Images
    figures: tuple[Figures, ...]
    memory: Memory
    labelled: Labelled | None
    notes: tuple[str, ...]


def scheme_name(scheme: str) -> str:
    """How people call a quantization scheme."""
    return "float32" if scheme == "none" else scheme.partition("-")[0].upper()
