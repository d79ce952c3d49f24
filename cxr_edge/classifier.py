"""decode -> gate -> preprocess -> network -> image gate -> decide: the only module that knows all of them."""

import contextlib
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Self, TypedDict

from cxr_edge.decide import decide
from cxr_edge.engine import Engine, clashing_builds, preload
from cxr_edge.errors import CxrEdgeError, InputError, ModelError, Reason, UsageError
from cxr_edge.gate import refusal
from cxr_edge.image_gate import ImageGate
from cxr_edge.isolation.limits import IsolationLimits
from cxr_edge.isolation.pool import Pool
from cxr_edge.isolation.preparer import IsolatedPreparer
from cxr_edge.modelfile import ModelFile, read_model
from cxr_edge.overlay import chosen_operating_point
from cxr_edge.prepare import Image, Prepared, Preparer, warm_up
from cxr_edge.processors import available_threads
from cxr_edge.qualification.qualify import open_model, qualified
from cxr_edge.read_ahead import read_ahead
from cxr_edge.results_of_many import ResultsOfMany
from cxr_edge.types import GateMode, ModelIdentity, Note, Prediction, Rejection


def load(
    model: str | Path | None = None,
    *,
    provider: str = "auto",
    threads: int | None = None,
    gate: GateMode = "strict",
    operating_point: str | Path | None = None,
    isolation: IsolationLimits | Pool | None = None,
) -> "Classifier":
    """Load a model, ready to classify.

    Args:
        model: a packaged model's name, the path of an `.onnx` file, or None for the default model.
        provider: `auto`, `cpu`, `cuda`, `tensorrt`, `openvino`, `directml` or `coreml`: anything but `auto` is that
            provider or an error.
        threads: inference threads; None: the CPUs of this process, at most 4.
        gate: `strict` rejects what the gate refuses; `warn` classifies it, the status stays `refused`; `off` asks
            nothing, the status is `unknown`.
        operating_point: a name from the contract, or a site's own file from `cxr-edge evaluate --overlay`; None for
            the contract's default.
        isolation: decode in processes of their own, within these limits, so that a decoder's crash or hang costs one
            image; None: decode in this process. The processes run until `Classifier.close`. A `Pool` started earlier
            is taken over.

    Raises:
        ModelError, ContractError: the model file cannot be used.
        ProviderError: the provider is not to be had.
        EnvironmentUnusable: onnxruntime does not load, or isolation finds no Python interpreter to start.
        UsageError: an unknown operating point, gate mode or number of threads; an overlay of another model.
    """
    # reading and hashing leave the interpreter free: onnxruntime is imported meanwhile
    threading.Thread(target=preload, name="cxr-edge-preload").start()  # no daemon: one would abort in C++ at exit
    return Classifier(
        read_model(model),
        provider=provider,
        threads=threads,
        gate=gate,
        operating_point=operating_point,
        isolation=isolation,
    )


class _Options(TypedDict):
    """What a copy in another process is made with."""

    provider: str
    threads: int | None
    gate: GateMode
    operating_point: str | Path | None
    isolation: IsolationLimits | None


class Classifier:
    """One model, one session. Safe to use from several threads; picklable (a copy reads the model file again).

    Attributes:
        contract: everything that was decided about the model.
        model: its name, version and SHA-256.
        operating_point: the threshold in force.
        execution_provider: onnxruntime's name of the provider that really runs.
        notices: what whoever started this has to know: an unpinned model, a fallback to the CPU or to the float model.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        provider: str = "auto",
        threads: int | None = None,
        gate: GateMode = "strict",
        operating_point: str | Path | None = None,
        isolation: IsolationLimits | Pool | None = None,
    ) -> None:
        """Create the session, check the contract against the graph, replay the golden cases; errors as in `load`."""
        _check_options(gate, threads, isolation)
        self._options: _Options = {
            "provider": provider,
            "threads": threads,
            "gate": gate,
            "operating_point": operating_point.resolve() if isinstance(operating_point, Path) else operating_point,
            "isolation": isolation.limits if isinstance(isolation, Pool) else isolation,
        }
        self._path = model.path.resolve()  # a copy may be unpickled elsewhere
        # its first process starts while the engine is created
        self._pool = Pool(isolation) if isinstance(isolation, IsolationLimits) else isolation
        try:
            self._open(model, provider, threads)
        except BaseException:
            self.close()  # what was started for this classifier must not outlive its failure
            raise

    def _open(self, model: ModelFile, provider: str, threads: int | None) -> None:
        meanwhile = warm_up if self._pool is None else None
        engine = Engine(model.content, provider=provider, threads=threads, meanwhile=meanwhile)
        opened = qualified(open_model(model, engine))
        gate, wanted = self._options["gate"], self._options["operating_point"]
        self._asked_sha256 = model.sha256
        self._engine, self._network = opened.engine, opened.network
        self._fallback = () if opened.fallback is None else (opened.fallback,)
        self.contract = opened.contract
        self._image_gate = ImageGate(self.contract.gate, gate, body_parts=self.contract.intended_use.body_parts)
        self.operating_point = chosen_operating_point(self.contract, wanted, model.sha256)
        identity = self.contract.identity
        self.model = ModelIdentity(name=identity.name, version=identity.version, sha256=opened.file.sha256)
        self.execution_provider = self._engine.execution_provider
        self.notices = (*self._fallback, *_notices(opened.file, self._engine, provider))
        self._preparer = (
            Preparer(self.contract, gate) if self._pool is None else IsolatedPreparer(self.contract, gate, self._pool)
        )

    def __enter__(self) -> Self:
        """Return the classifier itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the classifier."""
        self.close()

    def close(self) -> None:
        """End the decoding processes of an isolated classifier; without isolation there is nothing to end.

        A `classify_many` at work in another thread ends with `EnvironmentUnusable`.
        """
        if self._pool is not None:
            self._pool.close()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the path, the SHA-256 and the options: a session cannot travel."""
        return _reload, (self._path, self._asked_sha256, self._options)

    def classify(self, image: Image, *, keep_radiograph: bool = False) -> Prediction:
        """Classify one image.

        Args:
            image: a path; the bytes or a binary file object of a DICOM, JPEG, PNG, WebP, TIFF or BMP file; a pydicom
                Dataset; or a uint8 array, (rows, columns) gray with 0 black, or (rows, columns, 3) RGB.
            keep_radiograph: keep the decoded image in the result, for a heat map.

        Raises:
            InputError: the image cannot be classified; `reason` holds the code.
            ModelError: inference failed.
            EnvironmentUnusable: this installation cannot decode.
        """
        prepared = self._preparer.prepare(image, keep_radiograph=keep_radiograph)
        if isinstance(prepared, Rejection):
            raise InputError(prepared.reason, prepared.message)
        result = self._infer(prepared)
        if isinstance(result, Rejection):
            raise InputError(result.reason, result.message)
        return result

    def classify_many(
        self, images: Iterable[Image], *, keep_radiograph: bool = False
    ) -> Generator[Prediction | Rejection, None, None]:
        """Classify images in order; one result each, decoding overlapped with inference.

        Never stops at a bad image: it becomes a `Rejection`. Memory stays bounded, however many images come.

        Who does not take all of them closes the iterator (`contextlib.closing`), and has no thread left then. Those of
        a forgotten one end with the image that each is at.

        Raises:
            UsageError: `images` is a single path, string or bytes.
            EnvironmentUnusable: this installation cannot decode; no image is to blame.
            Exception: what `images` itself raised, after the results of those it gave before.
        """
        if isinstance(images, str | bytes | bytearray | os.PathLike):
            message = "classify_many takes several images; classify takes one"
            raise UsageError(message)
        return ResultsOfMany(partial(self._classify_many, images, keep_radiograph=keep_radiograph))

    def _classify_many(
        self, images: Iterable[Image], closed: threading.Event, *, keep_radiograph: bool
    ) -> Generator[Prediction | Rejection, None, None]:
        workers = available_threads() if self._pool is None else self._pool.processes
        prepared = read_ahead(images, self._preparer, workers, keep_radiograph=keep_radiograph, closed=closed)
        with contextlib.closing(prepared):
            for image in prepared:
                yield self._finish(image)

    def _finish(self, prepared: Prepared | Rejection) -> Prediction | Rejection:
        if isinstance(prepared, Rejection):
            return prepared
        try:
            return self._infer(prepared)
        except Exception as error:  # noqa: BLE001 - a batch goes on
            message = str(error) if isinstance(error, CxrEdgeError) else f"unexpected {type(error).__name__}"
            return Rejection(
                source=prepared.source,
                reason=Reason.INTERNAL,
                message=message,
                gate=prepared.gate,
                latency=prepared.latency,
            )

    def _infer(self, prepared: Prepared) -> Prediction | Rejection:
        started = perf_counter()
        answer = self._network.answer(prepared.tensors, features=self._image_gate.needs_features)
        inferred = perf_counter()
        gray = prepared.tensors[self.contract.members[0].input.name][0, :, :, 0]
        gate = self._image_gate.judge(prepared.gate, prepared.tags, gray, answer.features)
        verdict = decide(answer.probabilities, self.contract, self.operating_point)
        inference_ms = (inferred - started) * 1e3
        latency = replace(
            prepared.latency,
            inference_ms=inference_ms,
            total_ms=prepared.latency.total_ms + (perf_counter() - started) * 1e3,
        )
        if gate.status == "refused" and self._options["gate"] == "strict":
            return refusal(prepared.source, gate, latency)
        return Prediction(
            source=prepared.source,
            label=verdict.label,
            probabilities=verdict.probabilities,
            positive=verdict.positive,
            score=verdict.score,
            operating_point=self.operating_point,
            gate=gate,
            rendering=prepared.rendering,
            model=self.model,
            execution_provider=self.execution_provider,
            latency=latency,
            warnings=(*self._fallback, *prepared.notes),
            tags=prepared.tags,
            activation_map=answer.activation_map,
            radiograph=prepared.radiograph,
            seen=prepared.seen,
        )


def _check_options(gate: str, threads: int | None, isolation: object) -> None:
    """Refuse what callers without a type checker might hand over."""
    message = None
    if gate not in ("strict", "warn", "off"):
        message = f"unknown gate mode {gate!r}; known: strict, warn, off"
    if isolation is not None and not isinstance(isolation, IsolationLimits | Pool):
        message = f"isolation is {isolation!r}; need cxr_edge.IsolationLimits()"
    if threads is not None and threads < 1:
        message = f"threads is {threads}; at least 1 is needed"
    if message is not None:
        raise UsageError(message)


def _reload(path: Path, sha256: str, options: _Options) -> Classifier:
    model = read_model(path)
    if model.sha256 != sha256:
        message = f"the model {path} changed: SHA-256 was {sha256}, now is {model.sha256}"
        raise ModelError(message)
    return Classifier(model, **options)


def _notices(model: ModelFile, engine: Engine, provider: str) -> Iterator[Note]:
    if not model.pinned:
        text = f"no SHA-256 stands beside the model {model.path}; it has {model.sha256}"
        yield Note("model_not_pinned", text)
    if clash := clashing_builds():
        yield Note("onnxruntime_clash", clash)
    for failure in engine.fallbacks:
        yield Note("provider_fallback", failure)
    if provider == "auto" and engine.execution_provider == "CPUExecutionProvider":
        yield Note("provider_cpu", "provider auto: running on the CPU")
