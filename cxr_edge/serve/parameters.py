"""Query parameters: of a closed set of values, or a 400."""

from collections.abc import Sequence
from typing import TypeVar

from starlette.requests import Request

from cxr_edge.serve.problem import ProblemError

Value = TypeVar("Value", bound=str)


def choice(request: Request, name: str, known: tuple[Value, ...]) -> Value:
    """The parameter's value; the first known one where it is absent.

    Raises:
        ProblemError: 400, another value.
    """
    given = request.query_params.get(name, known[0])
    for value in known:
        if value == given:
            return value
    raise _no_such(name, known)


def one_of(request: Request, name: str, known: Sequence[str]) -> str | None:
    """The parameter's value; None where it is absent.

    Raises:
        ProblemError: 400, another value.
    """
    given = request.query_params.get(name)
    if given is None or given in known:
        return given
    raise _no_such(name, known)


def _no_such(name: str, known: Sequence[str]) -> ProblemError:
    return ProblemError(400, "bad_parameter", f"the parameter {name} has no such value; known: {', '.join(known)}")


def flag(request: Request, name: str, *, default: bool) -> bool:
    """A parameter that is 0 or 1.

    Raises:
        ProblemError: 400, another value.
    """
    return choice(request, name, ("1", "0") if default else ("0", "1")) == "1"
