"""Errors as RFC 9457 problem details: what happened, in a stable code, and never whose image it was."""

from collections.abc import Mapping, MutableMapping
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from starlette.responses import JSONResponse

from cxr_edge.serve.settings import RETRY_SECONDS

Scope = MutableMapping[str, Any]
PROBLEM_KEY = "cxr_edge.problem"  # in a request's scope: (reason, instance), for the log
MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """A request that is answered with a problem document.

    Attributes:
        status: of the answer.
        reason: a stable code (docs/reference/http-api.md).
        detail: one sentence for people.
        headers: further headers of the answer.
        members: further members of the document.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep what the answer is made of."""
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail
        self.headers, self.members = dict(headers or {}), dict(members or {})


def busy(detail: str) -> ProblemError:
    """There is no room for the request now."""
    return _unavailable("busy", detail)


def stopping() -> ProblemError:
    """The server was asked to stop."""
    return _unavailable("stopping", "the server is being stopped")


def unusable(detail: str) -> ProblemError:
    """This installation cannot decode any more; no image is to blame."""
    return _unavailable("environment_unusable", detail)


def _unavailable(reason: str, detail: str) -> ProblemError:
    return ProblemError(503, reason, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def defect() -> ProblemError:
    """What went wrong stands in the log, by its place: its text could hold a patient's data."""
    return ProblemError(500, "internal", "a defect of the server; please report it")


def problem_response(scope: Scope, problem: ProblemError) -> JSONResponse:
    """The answer; its reason and instance are noted in the scope, so that the log can tell them."""
    instance = f"urn:uuid:{uuid4()}"
    scope[PROBLEM_KEY] = (problem.reason, instance)
    document = {
        "type": f"urn:cxr-edge:problem:{problem.reason}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        "reason": problem.reason,
        **problem.members,
    }
    return JSONResponse(document, problem.status, problem.headers, MEDIA_TYPE)
