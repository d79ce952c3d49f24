"""What is drawn and no text says: the score on its scale, the label decided on among the others."""

from dataclasses import replace
from typing import Any

import pytest
from contracts import POINT
from reporting import CONTRACT, make_read, make_three

from cxr_edge.report.labels import labels
from cxr_edge.report.pen import CAUTION, FAINT, INK, NEGATIVE, POSITIVE, Pen
from cxr_edge.report.verdict import result
from cxr_edge.report.words import words_of
from cxr_edge.types import Gate

pytest.importorskip("reportlab")

LEFT, WIDTH, TOP = 40.0, 500.0, 700.0


class Recorder(Pen):
    """Notes shapes instead of drawing them."""

    def __init__(self) -> None:
        """Nothing is drawn yet."""
        super().__init__(None)
        self.shapes: list[tuple[str, dict[str, Any]]] = []

    def text(self, *_: Any, **__: Any) -> None:
        """Texts are read back from the PDF elsewhere."""

    def box(self, x: float, bottom: float, width: float, height: float, **options: Any) -> None:
        """Note a box."""
        self.shapes.append(("box", {"x": x, "bottom": bottom, "width": width, "height": height, **options}))

    def circle(self, x: float, y: float, radius: float, **options: Any) -> None:
        """Note a circle."""
        self.shapes.append(("circle", {"x": x, "y": y, "radius": radius, **options}))

    def pointer(self, x: float, tip: float, **options: Any) -> None:
        """Note a pointer."""
        self.shapes.append(("pointer", {"x": x, "tip": tip, **options}))

    def rule(self, *_: Any, **__: Any) -> None:
        """Lines mean nothing here."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The shapes of one kind, in order."""
        return [shape for name, shape in self.shapes if name == kind]


@pytest.mark.parametrize(("score", "threshold"), [(0.8, 0.5), (0.03, 0.0717), (1.0, 1.0), (0.0, 0.5)])
def test_the_score_stands_where_it_belongs(score: float, threshold: float) -> None:
    pen = Recorder()
    read = make_read(score=score, positive=score >= threshold, operating_point=replace(POINT, threshold=threshold))
    result(read, CONTRACT, words_of("en"), LEFT, WIDTH).draw(pen, TOP)
    (pointer,) = pen.of("pointer")
    bar, above, tick, badge = (pen.of("box")[-3:] + pen.of("box")[:1])[:4]
    assert badge["x"] == LEFT  # the word positive or negative
    assert pointer["x"] == pytest.approx(bar["x"] + score * bar["width"])
    assert pointer["tip"] >= bar["bottom"] + bar["height"]
    assert above["x"] == pytest.approx(bar["x"] + threshold * bar["width"])
    assert above["x"] + above["width"] == pytest.approx(bar["x"] + bar["width"])
    assert tick["x"] + tick["width"] / 2 == pytest.approx(above["x"])
    assert bar["x"] + bar["width"] == pytest.approx(LEFT + WIDTH)


@pytest.mark.parametrize("positive", [True, False])
def test_what_the_gate_refused_has_no_colour(positive: bool) -> None:  # noqa: FBT001 - a parameter of the test
    for gate, colour in ((Gate("ok"), POSITIVE if positive else NEGATIVE), (Gate("refused"), FAINT)):
        pen = Recorder()
        read = make_read(positive=positive, gate=gate)
        result(read, CONTRACT, words_of("en"), LEFT, WIDTH).draw(pen, TOP)
        assert [pen.of("box")[0]["fill"], pen.of("pointer")[0]["colour"]] == [colour, colour]


def test_doubt_about_the_image_stands_beside_the_result() -> None:
    doubtful, others = (Gate("warn"), Gate("unknown")), (Gate("ok"), Gate("refused"))
    for gate in (*doubtful, *others):
        pen = Recorder()
        result(make_read(gate=gate), CONTRACT, words_of("en"), LEFT, WIDTH).draw(pen, TOP)
        assert [box["edge"] for box in pen.of("box") if box.get("edge")] == [CAUTION] * (gate in doubtful)


@pytest.mark.parametrize(("label", "place"), [("NORMAL", 0), ("BACTERIAL", 1), ("VIRAL", 2)])
def test_one_station_is_filled(label: str, place: int) -> None:
    prediction, contract = make_three(label)
    pen = Recorder()
    labels(prediction, contract, words_of("en"), LEFT, WIDTH, 7).draw(pen, TOP)
    assert [circle["fill"] == INK for circle in pen.of("circle")] == [number == place for number in range(3)]
    assert [circle["x"] for circle in pen.of("circle")] == sorted(circle["x"] for circle in pen.of("circle"))


def test_two_labels_need_no_scale() -> None:
    pen = Recorder()
    part = labels(make_read(), CONTRACT, words_of("en"), LEFT, WIDTH, 7)
    part.draw(pen, TOP)
    assert (part.height, pen.shapes) == (0, [])
