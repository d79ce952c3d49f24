"""Closed to what is not listed: JSON Schemas, and what was read by them."""

from collections.abc import Iterator
from typing import Any

import msgspec


def closed_json_schema(kind: type) -> dict[str, Any]:
    """The closed JSON Schema (draft 2020-12) of a dataclass or struct and all that it holds."""
    (root,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for definition in components.values():
        if definition.get("type") == "object":
            definition["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": components}


def unknown_fields(raw: object, known: object, where: str = "$") -> Iterator[str]:
    """Where `raw` holds a field that `known`, what was read of it, does not.

    msgspec ignores unknown fields of dataclasses; a field nobody reads could be the one that mattered.
    """
    if isinstance(raw, dict) and isinstance(known, dict):
        for key, value in raw.items():
            if key in known:
                yield from unknown_fields(value, known[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}"
    elif isinstance(raw, list) and isinstance(known, list | tuple):
        for index, (item, known_item) in enumerate(zip(raw, known, strict=True)):
            yield from unknown_fields(item, known_item, f"{where}[{index}]")
