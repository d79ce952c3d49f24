"""The golden cases of a contract, replayed: same tensors to the byte, same outputs within the contract's tolerance."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.contract import Contract, GoldenCase
from cxr_edge.decode import decode
from cxr_edge.errors import CxrEdgeError
from cxr_edge.network import Network
from cxr_edge.preprocess import preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of it.
        passed: whether it is as it should be; None where there is nothing to compare it with.
        found: what was found.
    """

    name: str
    passed: bool | None
    found: str


def replay(network: Network, contract: Contract) -> Iterator[Check]:
    """Check each golden case: its input tensors, then its outputs.

    Args:
        network: of the model under test, on the provider under test.
        contract: of the same model.
    """
    for case in contract.golden.cases:
        try:
            tensors = _tensors(case, contract)
            yield _same_tensors(case, tensors, contract)
            yield _same_outputs(case, tensors, network, contract)
        except CxrEdgeError as error:
            yield Check(f"golden case {case.name}", passed=False, found=str(error))


def _tensors(case: GoldenCase, contract: Contract) -> "dict[str, NDArray[np.generic]]":
    pixels = decode(base64.b64decode(case.png), contract.rendering).pixels
    return {member.input.name: preprocess(pixels, member) for member in contract.members}


def _same_tensors(case: GoldenCase, tensors: "dict[str, NDArray[np.generic]]", contract: Contract) -> Check:
    wanted = dict(zip((member.input.name for member in contract.members), case.tensor_sha256, strict=True))
    found = {name: hashlib.sha256(np.ascontiguousarray(tensor).data).hexdigest() for name, tensor in tensors.items()}
    differing = sorted(name for name in wanted if wanted[name] != found[name])
    text = f"differ from the training pipeline's: {', '.join(differing)}" if differing else "byte-equal"
    return Check(f"input tensor of golden case {case.name}", passed=not differing, found=text)


def _same_outputs(
    case: GoldenCase, tensors: "dict[str, NDArray[np.generic]]", network: Network, contract: Contract
) -> Check:
    batch = {name: tensor[np.newaxis] for name, tensor in tensors.items()}
    found = network.answer(batch, features=False).probabilities
    difference = float(np.abs(found - np.asarray(case.exported)).max())  # NaN compares as no pass
    tolerance = contract.golden.tolerance
    text = f"probabilities differ by {difference:.4f} from those at export; at most {tolerance:g} is allowed"
    return Check(f"output of golden case {case.name}", passed=difference <= tolerance, found=text)
