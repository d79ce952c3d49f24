"""What a key of a recipe may be, in words: for the reference, and for whoever wrote something else there."""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import inspect

from cxr_edge_export.recipe.schema import Recipe

_TABLES = (inspect.StructType, inspect.DataclassType)
_LISTS = (inspect.VarTupleType, inspect.ListType)


def words_for(kind: inspect.Type) -> str:  # noqa: PLR0911 - one for each type
    """The values of a type: a number within bounds, one of some words, true or false."""
    match kind:
        case inspect.LiteralType(values):
            return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in values)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            name = "whole number" if isinstance(kind, inspect.IntType) else "number"
            return ", ".join([name, *_bounds(kind)])
        case inspect.StrType():
            return "text"
        case inspect.UnionType(types):
            shown = [part for part in types if not isinstance(part, inspect.NoneType)]
            return " or ".join(dict.fromkeys(words_for(part) for part in shown))
        case inspect.VarTupleType(item) | inspect.ListType(item):
            return f"list of {words_for(item)}"
        case inspect.TupleType(items):
            return f"[{', '.join(words_for(item) for item in items)}]"
        case _:
            return "table"


def allowed_at(message: str) -> str | None:
    """What may stand at the place that msgspec's message ends with: "... - at `$.resize.kernel`"; None: unknown."""
    place = re.search(r"`\$(.*)`$", message)
    if place is None:
        return None
    parts = [part for part in re.split(r"[.\[\]]+", place[1]) if part]
    found = next(_at(inspect.type_info(Recipe), parts), None)
    if isinstance(found, _TABLES):
        return f"a table of {', '.join(field.encode_name for field in found.fields)}"
    return None if found is None else words_for(found)


def _bounds(kind: inspect.IntType | inspect.FloatType) -> Iterator[str]:
    for name, sign in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below")):
        if (limit := getattr(kind, name)) is not None:
            yield f"{sign} {limit:g}" if isinstance(limit, float) else f"{sign} {limit}"


def _at(kind: Any, parts: list[str]) -> Iterator[inspect.Type]:  # noqa: ANN401 - inspect's fields are of any type
    if isinstance(kind, inspect.UnionType):
        for part in kind.types:
            yield from _at(part, parts)
    elif not parts:
        yield kind
    elif isinstance(kind, _LISTS):
        yield from _at(kind.item_type, parts[1:])
    elif isinstance(kind, _TABLES):
        for field in kind.fields:
            if field.encode_name == parts[0]:
                yield from _at(field.type, parts[1:])
