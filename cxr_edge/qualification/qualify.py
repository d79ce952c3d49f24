"""A model opened on this machine, and proven there before it answers anything."""

from dataclasses import dataclass, replace
from pathlib import Path

from cxr_edge.contract import Contract, from_metadata
from cxr_edge.engine import PROVIDERS, Engine
from cxr_edge.errors import CxrEdgeError, ModelError
from cxr_edge.modelfile import ModelFile, read_model
from cxr_edge.network import Network
from cxr_edge.qualification.fingerprint import fingerprint
from cxr_edge.qualification.float_form import float_form_fault
from cxr_edge.qualification.golden import Check, replay
from cxr_edge.qualification.record import is_recorded, record_pass
from cxr_edge.types import Note

FLOAT_NAME = "model-float.onnx"


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that is ready to run.

    Attributes:
        file: where it came from.
        engine: its session.
        contract: what it promises.
        network: the two together.
        fallback: why this is the float model and not the one asked for; None where it is.
    """

    file: ModelFile
    engine: Engine
    contract: Contract
    network: Network
    fallback: Note | None = None


def open_model(file: ModelFile, engine: Engine) -> Opened:
    """Contract and graph, checked against each other.

    Raises:
        ContractError: they do not fit.
    """
    contract = from_metadata(engine.metadata)
    return Opened(file=file, engine=engine, contract=contract, network=Network(contract, engine))


def qualified(opened: Opened) -> Opened:
    """The model itself once its golden cases replay here; else the float model beside it, if that does.

    What passed is remembered, so that the next start does not test again; a failure never is.

    Raises:
        ModelError: neither does. The message names the check that failed.
    """
    failure = _first_failure(opened)
    if failure is None:
        return opened
    what = f"the self-test of {_named(opened)} failed on this machine: {failure.name}: {failure.found}"
    path = opened.file.path.with_name(FLOAT_NAME)
    if opened.contract.quantization.scheme == "none" or not path.is_file():
        message = f"{what}; no float model ({FLOAT_NAME}) stands beside it to be used instead"
        raise ModelError(message)
    try:
        instead = _float_model(path, opened)
    except CxrEdgeError as error:
        message = f"{what}; {FLOAT_NAME} beside it cannot be used instead: {error}"
        raise ModelError(message) from error
    note = Note("float_fallback", f"{what}; the float model is used instead")
    return replace(instead, fallback=note)


def _float_model(path: Path, opened: Opened) -> Opened:
    """The float form of a model, on the same provider, after its own self-test.

    Raises:
        CxrEdgeError: it is none, or does not pass.
    """
    file = read_model(path)
    provider = next(name for name, full in PROVIDERS.items() if full == opened.engine.execution_provider)
    instead = open_model(file, Engine(file.content, provider=provider, threads=opened.engine.threads))
    if fault := float_form_fault(opened.contract, instead.contract):
        raise ModelError(fault)
    failure = _first_failure(instead)
    if failure is not None:
        message = f"{failure.name}: {failure.found}"
        raise ModelError(message)
    return instead


def _first_failure(opened: Opened) -> Check | None:
    here = fingerprint(opened.file.sha256, opened.engine.execution_provider)
    on_cpu = opened.engine.execution_provider == PROVIDERS["cpu"]  # the fingerprint does not know a GPU or its driver
    if on_cpu and is_recorded(here):
        return None
    failure = next((check for check in replay(opened.network, opened.contract) if not check.passed), None)
    if failure is None and on_cpu:
        record_pass(here)
    return failure


def _named(opened: Opened) -> str:
    identity = opened.contract.identity
    return f"{identity.name} {identity.version} ({opened.contract.quantization.scheme})"
