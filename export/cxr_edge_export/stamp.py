"""Writing the contract into a model's metadata, and proving that it reads back the same."""

import hashlib
from pathlib import Path

import onnx

from cxr_edge.contract import METADATA_KEY, Contract, from_metadata, to_json
from cxr_edge.contract.check import check
from cxr_edge.errors import ContractError, ModelError, OutputError
from cxr_edge.files import refuse_existing, write_atomically


def stamp(model: onnx.ModelProto, contract: Contract) -> bytes:
    """The model's bytes with this contract in `metadata_props`, and nothing else there.

    Args:
        model: changed in place.
        contract: checked first.

    Raises:
        ContractError: the contract contradicts itself, or does not read back as it was written.
    """
    check(contract)
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, to_json(contract)
    model.producer_name = "cxr-edge-export"
    content = bytes(model.SerializeToString())
    if read_contract(onnx.load_from_string(content)) != contract:
        message = "the contract does not read back as it was written"
        raise ContractError(message)
    return content


def read_contract(model: onnx.ModelProto) -> Contract:
    """The contract of a loaded model.

    Raises:
        ContractError: there is none, or it is refused.
    """
    return from_metadata({entry.key: entry.value for entry in model.metadata_props})


def load_onnx(content: bytes) -> onnx.ModelProto:
    """Parse an `.onnx` file.

    Raises:
        ModelError: it is none.
    """
    try:
        return onnx.load_from_string(content)
    except Exception as error:  # protobuf's DecodeError, whose module moved between versions
        message = f"not an ONNX file: {error}"
        raise ModelError(message) from error


def publish(content: bytes, output: Path, *, overwrite: bool) -> None:
    """Write a model and, beside it, its SHA-256 as `<name>.sha256` and in the folder's `SHA256SUMS`.

    Raises:
        OutputError: an output exists or cannot be written; what was written before is taken back.
    """
    if not output.name.isprintable():
        message = f"the name {output.name!r} cannot stand in SHA256SUMS: it holds a line break or a control character"
        raise OutputError(message)
    digest = hashlib.sha256(content).hexdigest()
    output = output.resolve()  # a link's sums would stand beside the link, and the file's own would be wrong
    own, sums = output.with_name(output.name + ".sha256"), output.with_name("SHA256SUMS")
    refuse_existing(output, overwrite=overwrite)
    refuse_existing(own, overwrite=overwrite)
    refuse_existing(sums, overwrite=True)
    before = {listing: listing.read_bytes() if listing.is_file() else None for listing in (own, sums)}
    try:
        write_atomically(sums, _listed(before[sums] or b"", output.name, digest), overwrite=True)
        write_atomically(own, f"{digest}  {output.name}\n".encode(), overwrite=overwrite)
        write_atomically(output, content, overwrite=overwrite)
    except BaseException:
        for listing, old in before.items():
            if old is None:
                listing.unlink(missing_ok=True)
            else:
                write_atomically(listing, old, overwrite=True)
        raise


def _listed(listing: bytes, name: str, digest: str) -> bytes:
    """A `SHA256SUMS` with this file's line in place of its old one; other lines stay."""
    try:
        lines = listing.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        message = "the folder's SHA256SUMS is not UTF-8"
        raise OutputError(message) from error
    kept = [line for line in lines if line.strip() and line.split(maxsplit=1)[-1].lstrip("*").strip() != name]
    return "".join(f"{line}\n" for line in [*kept, f"{digest}  {name}"]).encode()
