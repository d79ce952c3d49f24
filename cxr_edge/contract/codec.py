"""Contract <-> JSON, refusing whatever this version does not know."""

from collections.abc import Mapping
from typing import Any

import msgspec

from cxr_edge.contract.check import check
from cxr_edge.contract.closed import closed_json_schema, unknown_fields
from cxr_edge.contract.schema import METADATA_KEY, SCHEMA_VERSION, Contract
from cxr_edge.errors import ContractError

MAX_BYTES = 4 << 20  # a contract is some 20 kB; a hostile file may hold anything


def to_json(contract: Contract) -> str:
    """The contract as one line of JSON, as stored under `METADATA_KEY`."""
    return msgspec.json.encode(contract).decode()


def from_json(text: str) -> Contract:
    """Parse and check a contract.

    Raises:
        ContractError: not JSON, another schema version, an unknown or missing field, an unknown value, a contradiction.
    """
    if len(text) > MAX_BYTES:
        message = f"the contract holds {len(text):,} characters; at most {MAX_BYTES:,} are read"
        raise ContractError(message)
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        message = f"the contract is not JSON: {error}"
        raise ContractError(message) from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        message = f"the contract's schema_version is {str(version)[:20]!r}; this release reads version {SCHEMA_VERSION}"
        raise ContractError(message)
    try:
        contract = msgspec.convert(raw, Contract)
    except msgspec.ValidationError as error:
        message = f"the contract is not valid: {error}"
        raise ContractError(message) from None
    if unknown := next(unknown_fields(raw, msgspec.to_builtins(contract)), None):
        message = f"the contract holds an unknown field: {unknown}"
        raise ContractError(message)
    check(contract)
    return contract


def from_metadata(metadata: Mapping[str, str]) -> Contract:
    """The contract in a model's `metadata_props`.

    Raises:
        ContractError: there is none, or it is refused.
    """
    text = metadata.get(METADATA_KEY)
    if text is None:
        message = f"the model holds no contract (metadata key {METADATA_KEY}); need a file made by cxr-edge-export"
        raise ContractError(message)
    return from_json(text)


def json_schema() -> dict[str, Any]:
    """The contract's JSON Schema, closed: no object admits a field that is not listed."""
    return closed_json_schema(Contract)
