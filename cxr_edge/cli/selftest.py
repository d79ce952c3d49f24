"""`cxr-edge selftest`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.cli.console import out, printable
from cxr_edge.cli.inspect import UNUSABLE, JsonOption
from cxr_edge.cli.options import ModelOption, ProviderOption
from cxr_edge.files import refuse_existing, write_atomically

if TYPE_CHECKING:
    from cxr_edge.selftest import Report


def selftest(
    model: ModelOption = None,
    *,
    provider: ProviderOption = "auto",
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Keep the record: JSON if FILE ends so, else text.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing FILE.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Prove that the model decides here as it did at export.

    Replays the contract's golden cases, checks the model file, the resize arithmetic and every decoder. Exit code 5 if
    a check fails.
    """
    if report is not None:
        refuse_existing(report, overwrite=overwrite)
    from cxr_edge.selftest import qualify_installation

    found = qualify_installation(model, provider=provider)
    out(_json(found) if as_json else _text(found))
    if report is not None:
        content = _json(found) if report.suffix.lower() == ".json" else _text(found)
        write_atomically(report, content.encode(), overwrite=overwrite)
    raise typer.Exit(0 if found.passed else UNUSABLE)


def _json(found: "Report") -> str:
    import json

    return json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n"


def _text(found: "Report") -> str:
    from cxr_edge.selftest import outcome

    lines = ["Installation qualification of cxr-edge. Not a medical device.", ""]
    for title, facts in (("model", found.model), ("machine", found.machine)):
        lines += [title, *(f"  {name:<20}{printable(value)}" for name, value in facts.items()), ""]
    lines.append("checks")
    shown = {"pass": "pass", "fail": "FAIL", "unpinned": "unpinned"}
    lines += [f"  {shown[outcome(check)]:<8}  {check.name}: {printable(check.found)}" for check in found.checks]
    failed = sum(check.passed is False for check in found.checks)
    verdict = "PASSED" if found.passed else f"FAILED: {failed} of {len(found.checks)} checks"
    lines += ["", f"{found.created}  {verdict}  ({len(found.checks)} checks in {found.seconds:.2f} s)"]
    return "\n".join(lines) + "\n"
