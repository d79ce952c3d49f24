"""A graph that does not fit its contract, or gives something else than it declared, is told at once."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from contracts import make_contract, with_image_gate
from numpy.typing import NDArray

from cxr_edge.errors import ContractError, ModelError
from cxr_edge.network import Network

if TYPE_CHECKING:
    from cxr_edge.engine import Engine

CONTRACT = with_image_gate(make_contract())
IMAGE = ("tensor(uint8)", ("N", 224, 224, 3))
OUTPUTS: dict[str, tuple[str, tuple[int | str | None, ...]]] = {
    "probabilities": ("tensor(float)", (None, 2)),
    "activation_map": ("tensor(float)", ("N", "h", 7, 2)),
    "features": ("tensor(float)", ("N", 3)),
}
GIVEN: dict[str, NDArray[np.float32]] = {
    "probabilities": np.array([[0.25, 0.75]], np.float32),
    "activation_map": np.ones((1, 7, 7, 2), np.float32),
    "features": np.zeros((1, 3), np.float32),
}


class _FakeEngine:
    """An engine with the tensors that a test wants."""

    def __init__(self, *, inputs: dict[str, Any], declared: dict[str, Any], given: dict[str, Any]) -> None:
        self.inputs, self.outputs = inputs, OUTPUTS | declared
        self._given = GIVEN | given

    def run(self, _tensors: object, outputs: tuple[str, ...]) -> list[NDArray[np.float32]]:
        return [self._given[name] for name in outputs]


def network(
    *, inputs: dict[str, Any] | None = None, declared: dict[str, Any] | None = None, given: dict[str, Any] | None = None
) -> Network:
    engine = _FakeEngine(inputs=inputs or {"image": IMAGE}, declared=declared or {}, given=given or {})
    return Network(CONTRACT, cast("Engine", engine))


def test_what_fits_is_answered_without_its_batch_axis() -> None:
    answer = network().answer({}, features=True)
    np.testing.assert_array_equal(answer.probabilities, [0.25, 0.75])
    assert answer.activation_map is not None
    assert answer.activation_map.shape == (7, 7, 2)
    assert answer.features is not None
    assert answer.features.shape == (3,)
    assert network().answer({}, features=False).features is None


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("probabilities", np.ones((1, 3), np.float32)),
        ("probabilities", np.ones((2, 2), np.float32)),
        ("activation_map", np.ones((2, 7, 7, 2), np.float32)),
        ("activation_map", np.ones((1, 7, 7, 3), np.float32)),
        ("activation_map", np.ones((1, 7, 2), np.float32)),
        ("activation_map", np.full((1, 7, 7, 2), np.nan, np.float32)),
        ("activation_map", np.full((1, 7, 7, 2), np.inf, np.float32)),
        ("features", np.zeros((2, 3), np.float32)),
        ("features", np.zeros((), np.float32)),
    ],
)
def test_outputs_that_were_not_promised(name: str, given: NDArray[np.float32]) -> None:
    with pytest.raises(ModelError, match="gave outputs of shape"):
        network(given={name: given}).answer({}, features=True)


@pytest.mark.parametrize(
    "image",
    [
        ("tensor(float)", ("N", 224, 224, 3)),
        ("tensor(uint8)", (1, 224, 224, 3)),
        ("tensor(uint8)", ("N", 224, 225, 3)),
        ("tensor(uint8)", ("N", 3, 224, 224)),
        ("tensor(uint8)", ("N", 224, 224)),
    ],
)
def test_an_input_that_does_not_fit(image: tuple[str, tuple[int | str, ...]]) -> None:
    with pytest.raises(ContractError, match="tensor image is"):
        network(inputs={"image": image})


def test_an_input_that_the_contract_does_not_know() -> None:
    with pytest.raises(ContractError, match=r"inputs \['mask'\] that the contract does not know"):
        network(inputs={"image": IMAGE, "mask": IMAGE})


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("probabilities", (1, 2)),
        ("probabilities", ("N", 3)),
        ("activation_map", (1, 7, 7, 2)),
        ("activation_map", ("N", 7, 7, 3)),
        ("features", (1, 3)),
        ("features", ("N", 4)),
    ],
)
def test_an_output_that_does_not_fit(name: str, shape: tuple[int | str, ...]) -> None:
    with pytest.raises(ContractError, match=f"tensor {name} is"):
        network(declared={name: ("tensor(float)", shape)})


def test_an_output_that_is_not_there() -> None:
    contract = replace(CONTRACT, outputs=replace(CONTRACT.outputs, activation_map="heat"))
    with pytest.raises(ContractError, match="tensor heat is None"):
        Network(contract, cast("Engine", _FakeEngine(inputs={"image": IMAGE}, declared={}, given={})))
