"""Keras -> float ONNX: how tf2onnx is asked."""

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from contracts import make_contract

from cxr_edge.errors import ModelError
from cxr_edge_export.keras_model import SourceModel
from cxr_edge_export.onnx_float import CATCH_ERRORS, to_float_onnx

MEMBER = make_contract().members[0]


@dataclass
class Tracer:
    """Stands for tf2onnx, with an optimizer that fails where the variable says what is in `faults`."""

    faults: tuple[str | None, ...] = ()
    asked: list[str | None] = field(default_factory=list)

    def trace(self, _name: str, _shape: tuple[int, int, int]) -> Any:
        """What the environment says is kept."""
        self.asked.append(os.environ.get(CATCH_ERRORS))
        if self.asked[-1] in self.faults:
            message = "the optimizer failed"
            raise ValueError(message)
        return "graph"


def traced(tracer: Tracer) -> Any:
    source = SourceModel(predict=lambda tensors: tensors, trace=tracer.trace, sha256="", framework="")
    return to_float_onnx(source, MEMBER)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CATCH_ERRORS, raising=False)


def test_the_graph_is_not_copied_before_each_optimizer() -> None:
    tracer = Tracer()
    assert traced(tracer) == "graph"
    assert tracer.asked == ["FALSE"]
    assert CATCH_ERRORS not in os.environ


def test_where_an_optimizer_fails_the_others_are_applied() -> None:
    tracer = Tracer(("FALSE",))
    assert traced(tracer) == "graph"
    assert tracer.asked == ["FALSE", None]


def test_what_cannot_be_converted_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=f"cannot convert {MEMBER.name}: ValueError: the optimizer failed"):
        traced(Tracer(("FALSE", None)))
    assert CATCH_ERRORS not in os.environ


def test_a_variable_that_is_set_already_takes_no_try_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CATCH_ERRORS, "TRUE")
    tracer = Tracer(("FALSE", "TRUE"))
    assert traced(tracer) == "graph"
    assert tracer.asked == ["FALSE", None]
    assert os.environ[CATCH_ERRORS] == "TRUE"


def test_tf2onnx_knows_the_variable_by_that_name() -> None:
    constants = pytest.importorskip("tf2onnx.constants")
    assert constants.ENV_TF2ONNX_CATCH_ERRORS == CATCH_ERRORS
