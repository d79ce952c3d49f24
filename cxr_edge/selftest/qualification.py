"""Every check of the self-test, in one record."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from cxr_edge.contract import Contract
from cxr_edge.engine import Engine
from cxr_edge.modelfile import ModelFile, read_model
from cxr_edge.preprocess import pillow_arithmetic_matches
from cxr_edge.qualification.fingerprint import fingerprint
from cxr_edge.qualification.golden import Check, replay
from cxr_edge.qualification.qualify import open_model
from cxr_edge.qualification.record import record_pass
from cxr_edge.selftest.codecs import check_codecs

REPORT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Report:
    """An installation qualification record.

    Attributes:
        passed: whether no check failed.
        checks: in the order they were made.
        model: name, version, SHA-256, scheme.
        machine: what the answers depend on: processor, provider, versions.
        created: ISO 8601 in UTC.
        seconds: that the checks took, without the start of the interpreter.
    """

    passed: bool
    checks: tuple[Check, ...]
    model: dict[str, str]
    machine: dict[str, str]
    created: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values for JSON."""
        checks = [{**asdict(check), "outcome": outcome(check)} for check in self.checks]
        head = {"report_version": REPORT_VERSION, "statement": "Not a medical device."}
        return {**head, **asdict(self), "checks": checks}


def outcome(check: Check) -> Literal["pass", "fail", "unpinned"]:
    """A check in one word; `unpinned`: no released SHA-256 to compare the model file's with."""
    if check.passed is None:
        return "unpinned"
    return "pass" if check.passed else "fail"


def qualify_installation(model: str | Path | None = None, *, provider: str = "auto") -> Report:
    """Replay the golden cases, and check the model file, the resize arithmetic and every decoder.

    A pass is remembered, as if a first classification had tested; nothing remembered is believed here.

    Args:
        model: as `cxr_edge.load` takes it.
        provider: as `cxr_edge.load` takes it.

    Raises:
        ModelError, ContractError: the model cannot even be opened; the message names what is wrong with it.
        ProviderError: the provider is not to be had.
    """
    started = perf_counter()
    file = read_model(model)
    opened = open_model(file, Engine(file.content, provider=provider))
    contract, golden = opened.contract, tuple(replay(opened.network, opened.contract))
    checks = (_model_file(file), _arithmetic(), *golden, *check_codecs(contract.rendering))
    machine = fingerprint(file.sha256, opened.engine.execution_provider)
    if all(check.passed for check in golden):
        record_pass(machine)
    return Report(
        passed=all(check.passed is not False for check in checks),
        checks=checks,
        model=_model(file, contract),
        machine={name: value for name, value in machine.items() if name != "model_sha256"},
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        seconds=round(perf_counter() - started, 3),
    )


def _model_file(file: ModelFile) -> Check:
    """One that no released digest speaks of does not fail: a site may have exported it itself."""
    found = "agrees with the one beside it" if file.pinned else "not vouched for: none stands beside it"
    return Check("SHA-256 of the model file", passed=True if file.pinned else None, found=found)


def _arithmetic() -> Check:
    matches = pillow_arithmetic_matches()
    found = "the installed Pillow's" if matches else "the package's own, slower: this Pillow computes otherwise"
    return Check("resize arithmetic", passed=True, found=found)


def _model(file: ModelFile, contract: Contract) -> dict[str, str]:
    identity = contract.identity
    return {
        "name": identity.name,
        "version": identity.version,
        "sha256": file.sha256,
        "scheme": contract.quantization.scheme,
    }
