"""decode -> gate -> preprocess -> engine -> decide: the only module that knows all of them."""

import itertools
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract import Contract, from_metadata
from cxr_edge.decide import decide
from cxr_edge.engine import Engine, TensorInfo, available_threads, clashing_builds, preload
from cxr_edge.errors import ContractError, CxrEdgeError, InputError, ModelError, Reason, UsageError
from cxr_edge.modelfile import ModelFile, read_model
from cxr_edge.prepare import Image, Prepared, Preparer, warm_up
from cxr_edge.types import GateMode, Latency, ModelIdentity, Note, OperatingPoint, Prediction, Rejection

if TYPE_CHECKING:
    from concurrent.futures import Future

    from numpy.typing import NDArray

MAP_DIMENSIONS = 4
AHEAD_PER_WORKER = 2  # decoded images waiting for inference: bounds memory, whatever the batch


def load(
    model: str | Path | None = None,
    *,
    provider: str = "auto",
    threads: int | None = None,
    gate: GateMode = "strict",
    operating_point: str | None = None,
) -> "Classifier":
    """Load a model, ready to classify.

    Args:
        model: a packaged model's name, the path of an `.onnx` file, or None for the default model.
        provider: `auto`, `cpu`, `cuda`, `tensorrt`, `openvino`, `directml` or `coreml`: anything but `auto` is that
            provider or an error.
        threads: inference threads; None: the CPUs of this process, at most 4.
        gate: `strict` rejects what the gate refuses; `warn` classifies it, the status stays `refused`; `off` asks
            nothing, the status is `unknown`.
        operating_point: a name from the contract; None for its default.

    Raises:
        ModelError, ContractError: the model file cannot be used.
        ProviderError: the provider is not to be had.
        UsageError: an unknown operating point, gate mode or number of threads.
    """
    # reading and hashing leave the interpreter free: onnxruntime is imported meanwhile
    threading.Thread(target=preload, name="cxr-edge-preload").start()  # no daemon: one would abort in C++ at exit
    return Classifier(read_model(model), provider=provider, threads=threads, gate=gate, operating_point=operating_point)


class Classifier:
    """One model, one session. Safe to use from several threads; picklable (a copy reads the model file again).

    Attributes:
        contract: everything that was decided about the model.
        model: its name, version and SHA-256.
        operating_point: the threshold in force.
        execution_provider: onnxruntime's name of the provider that really runs.
        notices: what whoever started this has to know: an unpinned model, a fallback to the CPU.
    """

    def __init__(
        self,
        model: ModelFile,
        *,
        provider: str = "auto",
        threads: int | None = None,
        gate: GateMode = "strict",
        operating_point: str | None = None,
    ) -> None:
        """Create the session and check the contract against the graph; errors as in `load`."""
        if gate not in ("strict", "warn", "off"):
            message = f"unknown gate mode {gate!r}; known: strict, warn, off"
            raise UsageError(message)
        if threads is not None and threads < 1:
            message = f"threads is {threads}; at least 1 is needed"
            raise UsageError(message)
        self._options = {"provider": provider, "threads": threads, "gate": gate, "operating_point": operating_point}
        self._path = model.path.resolve()  # a copy may be unpickled elsewhere
        self._engine = Engine(model.content, provider=provider, threads=threads, meanwhile=warm_up)
        self.contract: Contract = from_metadata(self._engine.metadata)
        _check_graph(self.contract, self._engine)
        self.operating_point = _operating_point(self.contract, operating_point)
        identity = self.contract.identity
        self.model = ModelIdentity(name=identity.name, version=identity.version, sha256=model.sha256)
        self.execution_provider = self._engine.execution_provider
        self.notices = tuple(_notices(model, self._engine, provider))
        self._preparer = Preparer(self.contract, gate)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the path, the SHA-256 and the options: a session cannot travel."""
        return _reload, (self._path, self.model.sha256, self._options)

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
        prepared = self._preparer.prepare(image)
        if isinstance(prepared, Rejection):
            raise InputError(prepared.reason, prepared.message)
        return self._infer(prepared, keep_radiograph=keep_radiograph)

    def classify_many(
        self, images: Iterable[Image], *, keep_radiograph: bool = False
    ) -> Iterator[Prediction | Rejection]:
        """Classify images in order; one result each, decoding overlapped with inference.

        Never stops at a bad image: it becomes a `Rejection`. Memory stays bounded, however many images come.

        Raises:
            UsageError: `images` is a single path, string or bytes.
            EnvironmentUnusable: this installation cannot decode; no image is to blame.
            Exception: what `images` itself raised, after the results of those it gave before.
        """
        if isinstance(images, str | bytes | bytearray | os.PathLike):
            message = "classify_many takes several images; classify takes one"
            raise UsageError(message)
        return self._classify_many(images, keep_radiograph=keep_radiograph)

    def _classify_many(self, images: Iterable[Image], *, keep_radiograph: bool) -> Iterator[Prediction | Rejection]:
        failures: list[Exception] = []
        waiting_images = _until_failure(images, failures)
        head = list(itertools.islice(waiting_images, 2))
        if len(head) < 2:  # noqa: PLR2004 - a single image needs no pool, nor the time to import one
            for image in head:
                yield self._finish(self._preparer.prepare_safely(image), keep_radiograph=keep_radiograph)
            if failures:
                raise failures[0]
            return
        from concurrent.futures import ThreadPoolExecutor

        workers = available_threads()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="cxr-edge-decode")
        waiting: deque[Future[Prepared | Rejection]] = deque()
        try:
            for image in itertools.chain(head, waiting_images):
                waiting.append(pool.submit(self._preparer.prepare_safely, image))
                if len(waiting) > workers * AHEAD_PER_WORKER:
                    yield self._finish(waiting.popleft().result(), keep_radiograph=keep_radiograph)
            while waiting:
                yield self._finish(waiting.popleft().result(), keep_radiograph=keep_radiograph)
            if failures:
                raise failures[0]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _finish(self, prepared: Prepared | Rejection, *, keep_radiograph: bool) -> Prediction | Rejection:
        if isinstance(prepared, Rejection):
            return prepared
        try:
            return self._infer(prepared, keep_radiograph=keep_radiograph)
        except Exception as error:  # noqa: BLE001 - a batch goes on
            message = str(error) if isinstance(error, CxrEdgeError) else f"unexpected {type(error).__name__}"
            return Rejection(
                source=prepared.radiograph.source,
                reason=Reason.INTERNAL,
                message=message,
                gate=prepared.gate,
                latency=prepared.latency,
            )

    def _infer(self, prepared: Prepared, *, keep_radiograph: bool) -> Prediction:
        started = perf_counter()
        names = self.contract.outputs
        wanted = (names.probabilities,) if names.activation_map is None else (names.probabilities, names.activation_map)
        outputs = self._engine.run(prepared.tensors, wanted)
        inferred = perf_counter()
        _check_outputs(outputs, len(self.contract.labels))
        verdict = decide(outputs[0][0], self.contract, self.operating_point)
        radiograph, latency = prepared.radiograph, prepared.latency
        inference_ms = (inferred - started) * 1e3
        decide_ms = (perf_counter() - inferred) * 1e3
        return Prediction(
            source=radiograph.source,
            label=verdict.label,
            probabilities=verdict.probabilities,
            positive=verdict.positive,
            score=verdict.score,
            operating_point=self.operating_point,
            gate=prepared.gate,
            rendering=radiograph.rendering,
            model=self.model,
            execution_provider=self.execution_provider,
            latency=Latency(
                read_ms=latency.read_ms,
                decode_ms=latency.decode_ms,
                preprocess_ms=latency.preprocess_ms,
                inference_ms=inference_ms,
                total_ms=latency.total_ms + inference_ms + decide_ms,
            ),
            warnings=radiograph.notes,
            tags=radiograph.tags,
            activation_map=outputs[1][0] if len(outputs) > 1 else None,
            radiograph=radiograph if keep_radiograph else None,
        )


def _until_failure(images: Iterable[Image], failures: list[Exception]) -> Iterator[Image]:
    """The images; where the iterable itself raises, its end, so that those already read get their results first."""
    try:
        yield from images
    except Exception as error:  # noqa: BLE001 - raised again once the results are out
        failures.append(error)


def _reload(path: Path, sha256: str, options: dict[str, object]) -> Classifier:
    model = read_model(path)
    if model.sha256 != sha256:
        message = f"the model {path} changed: SHA-256 was {sha256}, now is {model.sha256}"
        raise ModelError(message)
    return Classifier(model, **options)  # type: ignore[arg-type]  # the dict that __init__ kept


def _operating_point(contract: Contract, name: str | None) -> OperatingPoint:
    wanted = name or contract.default_operating_point
    for point in contract.operating_points:
        if point.name == wanted:
            return point
    known = ", ".join(point.name for point in contract.operating_points)
    message = f"the model has no operating point {wanted!r}; it has {known}"
    raise UsageError(message)


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


def _check_graph(contract: Contract, engine: Engine) -> None:
    for member in contract.members:
        spec = member.input
        dtype = "tensor(float)" if spec.dtype == "float32" else f"tensor({spec.dtype})"
        _check_tensor(spec.name, engine.inputs.get(spec.name), dtype, (spec.height, spec.width, spec.channels))
    unknown = set(engine.inputs) - {member.input.name for member in contract.members}
    if unknown:
        message = f"the graph has inputs {sorted(unknown)} that the contract does not know"
        raise ContractError(message)
    outputs, labels = contract.outputs, len(contract.labels)
    _check_tensor(outputs.probabilities, engine.outputs.get(outputs.probabilities), "tensor(float)", (labels,))
    if outputs.activation_map is not None:
        shape = (None, None, labels)
        _check_tensor(outputs.activation_map, engine.outputs.get(outputs.activation_map), "tensor(float)", shape)
    if outputs.features is not None and outputs.features not in engine.outputs:
        message = f"the graph has no output {outputs.features}, which the contract names"
        raise ContractError(message)
    if contract.gate.out_of_distribution is not None:
        message = "the contract holds an out-of-distribution part, which this release cannot apply"
        raise ContractError(message)


def _check_tensor(name: str, found: TensorInfo | None, dtype: str, shape: tuple[int | None, ...]) -> None:
    """Type and shape after the free batch axis; None stands for any size."""
    if (
        found is None
        or found[0] != dtype
        or len(found[1]) != len(shape) + 1
        or isinstance(found[1][0], int)
        or any(wanted not in (None, size) for wanted, size in zip(shape, found[1][1:], strict=True))
    ):
        message = f"the graph's tensor {name} is {found}; the contract says {dtype} [N, *{shape}]"
        raise ContractError(message)


def _check_outputs(outputs: "list[NDArray[np.float32]]", labels: int) -> None:
    """A graph may declare one shape and give another."""
    probabilities, *maps = outputs
    fits = probabilities.shape == (1, labels)
    fits = fits and all(m.ndim == MAP_DIMENSIONS and m.shape[0] == 1 and m.shape[3] == labels for m in maps)
    if not fits or not all(np.isfinite(m).all() for m in maps):
        message = f"the model gave outputs of shape {[output.shape for output in outputs]}, or numbers that are none"
        raise ModelError(message)
