"""Figures and texts as people read them."""

from cxr_edge.types import Interval

NOT_DEFINED = "not defined"


def percent(figure: Interval | None) -> str:
    """A share in percent with its 95 % interval."""
    if figure is None:
        return NOT_DEFINED
    return f"{figure.estimate:.1%} [{figure.low * 100:.1f}, {figure.high * 100:.1f}]".replace("%", " %")


def number(figure: Interval | None) -> str:
    """A figure between 0 and 1 with its 95 % interval."""
    if figure is None:
        return NOT_DEFINED
    return f"{figure.estimate:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def bare(figure: float | None) -> str:
    """A figure between 0 and 1 without an interval."""
    return NOT_DEFINED if figure is None else f"{figure:.3f}"


def visible(text: str) -> str:
    r"""The text with what is no letter to be seen as \x1b and the like: control, direction and broken characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
