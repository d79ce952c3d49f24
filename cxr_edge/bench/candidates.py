"""What is measured against each other: one or two models, each with several numbers of threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.classifier import Classifier
from cxr_edge.errors import ContractError, ModelError, UsageError
from cxr_edge.modelfile import ModelFile
from cxr_edge.qualification.float_form import float_form_fault
from cxr_edge.qualification.qualify import FLOAT_NAME


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model with one number of threads, ready to classify."""

    file: ModelFile
    threads: int
    classifier: Classifier

    @property
    def scheme(self) -> str:
        """Of its quantization; `none` is float32."""
        return self.classifier.contract.quantization.scheme


def float_path(model: ModelFile) -> Path:
    """The float32 model beside a quantized one.

    Raises:
        ModelError: there is none.
    """
    path = model.path.with_name(FLOAT_NAME)
    if not path.is_file():
        message = f"no {FLOAT_NAME} stands beside {model.path}; cxr-edge-export convert --float makes it"
        raise ModelError(message)
    return path


def open_candidate(file: ModelFile, provider: str, threads: int) -> Candidate:
    """A classifier, warm: its golden cases ran, or are recorded to have passed on this machine.

    Raises:
        ModelError: the file cannot be used, or its self-test failed: another model in its place is not to be measured.
        ProviderError: the provider is not to be had.
    """
    try:
        classifier = Classifier(file, provider=provider, threads=threads)
    except ContractError as error:  # of two models, which
        message = f"{file.path}: {error}"
        raise ContractError(message) from None
    if classifier.model.sha256 != file.sha256:
        (why,) = [note.message for note in classifier.notices if note.code == "float_fallback"]
        raise ModelError(why)
    return Candidate(file, threads, classifier)


def refuse_another_model(asked: Candidate, other: Candidate) -> None:
    """See to it that the float model is the float form of the model asked for.

    Raises:
        UsageError: the model asked for is itself the float one.
        ModelError: the other was made from another network, or decides by other rules.
    """
    if asked.file.sha256 == other.file.sha256 or asked.scheme == "none":
        message = "--compare float needs a quantized model; this one is float32 itself"
        raise UsageError(message)
    if fault := float_form_fault(asked.classifier.contract, other.classifier.contract):
        message = f"{FLOAT_NAME}: {fault}"
        raise ModelError(message)


def open_candidates(files: Sequence[ModelFile], provider: str, threads: Sequence[int]) -> tuple[Candidate, ...]:
    """All of them, model by model, threads in the order given; errors as `open_candidate`."""
    return tuple(open_candidate(file, provider, count) for file in files for count in threads)
