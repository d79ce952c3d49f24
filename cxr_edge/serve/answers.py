"""Results as the API answers them: the package's rows, with the published keys beside them."""

from typing import Any

from cxr_edge.errors import Reason
from cxr_edge.results import to_row
from cxr_edge.serve.problem import ProblemError
from cxr_edge.types import Prediction, Rejection, side_is_label

Answer = dict[str, Any]


def answer_of(result: Prediction | Rejection, *, identifiers: bool) -> Answer:
    """One image's row; a classified one has `predicted_class` too, and `probability` where there are two labels.

    Of more labels, the score is the probability of no single one: beside a label it would be read as that label's.

    Args:
        result: its source's path is the file's name as the client gave it.
        identifiers: whether name and UIDs stand in the row.
    """
    row = to_row(result, identifiers=identifiers)
    if isinstance(result, Prediction):
        row["predicted_class"] = result.label
        if side_is_label(result.probabilities):
            row["probability"] = result.score
    return row


def links_of(result_id: str, *, has_heat_map: bool) -> dict[str, str | None]:
    """Where the pictures and the report of a kept result are."""
    base = f"/results/{result_id}"
    return {
        "id": result_id,
        "radiograph": f"{base}/radiograph.png",
        "heatmap": f"{base}/heatmap.png" if has_heat_map else None,
        "report": f"{base}/report.pdf",
    }


def problem_of(rejected: Answer) -> ProblemError:
    """The answer to a request with one file, which was rejected."""
    reason, message = rejected["reason"]["code"], rejected["reason"]["message"]
    members = {key: rejected[key] for key in ("source", "gate", "latency_ms")}
    status = 500 if reason == Reason.INTERNAL else 422
    return ProblemError(status, reason, message, members=members)
