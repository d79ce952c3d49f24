"""JSON Schemas that are closed: no object admits a field that is not listed."""

from typing import Any

import msgspec


def closed_json_schema(kind: type) -> dict[str, Any]:
    """The closed JSON Schema (draft 2020-12) of a dataclass or struct and all that it holds."""
    (root,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for definition in components.values():
        if definition.get("type") == "object":
            definition["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": components}
