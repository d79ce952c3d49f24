"""Writing the contract into a model's metadata, and proving that it reads back the same."""

import onnx

from cxr_edge.contract import METADATA_KEY, Contract, from_metadata, to_json
from cxr_edge.contract.check import check
from cxr_edge.errors import ContractError, ModelError


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
