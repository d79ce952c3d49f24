"""What the model decided: the class in plain words, and the score against the operating point."""

from cxr_edge.contract import Contract
from cxr_edge.report import figures
from cxr_edge.report.pen import FAINT, INK, NEGATIVE, POSITIVE, Part, Pen
from cxr_edge.report.text import Block, Style, prose, shortened, width_of, wrap
from cxr_edge.report.words import Words
from cxr_edge.types import Prediction

_BAR = 9.0  # points
_NEGATIVE_ZONE, _POSITIVE_ZONE = "#d7e5e7", "#f1d6d2"
_REFUSED_FILL = "#fbe9e7"


def result(prediction: Prediction, contract: Contract, words: Words, left: float, width: float) -> Part:
    """The class on the left, the score on its scale on the right; a warning where the gate refused."""
    class_, score = (
        _class(prediction, words, left, width * 0.46),
        _score(prediction, contract, words, left + width * 0.5, width * 0.5),
    )
    refused = prediction.gate.status == "refused"
    height = max(class_.height, score.height) + (22 if refused else 0)

    def draw(pen: Pen, top: float) -> None:
        class_.draw(pen, top)
        score.draw(pen, top)
        if refused:
            pen.box(left, top - height, width, 17, fill=_REFUSED_FILL, edge=POSITIVE, round_=3)
            text = shortened(words.say("result.refused"), Style(9.5, POSITIVE, bold=True), width - 14)
            pen.text(left + 7, top - height + 5, text, Style(9.5, POSITIVE, bold=True))

    return Part(height, draw)


def _class(prediction: Prediction, words: Words, left: float, width: float) -> Part:
    colour = POSITIVE if prediction.positive else NEGATIVE
    name = prose(words.label(prediction.label))
    size = next((size for size in (24.0, 18.0, 14.0) if width_of(name, Style(size, bold=True)) <= width), 12.0)
    title = wrap(name, Style(size, INK, bold=True), width, 2)
    side = words.say("result.positive" if prediction.positive else "result.negative").upper()
    below = _sentence(prediction, words, width)
    no_proof = wrap("" if prediction.positive else words.say("result.no_proof"), Style(8.5, INK, bold=True), width, 2)
    badge_top = 12 + title.height + 2

    def draw(pen: Pen, top: float) -> None:
        pen.text(left, top - 8, words.say("result"), Style(8.5, FAINT, bold=True))
        pen.block(left, top - 12, title)
        badge = Style(8.5, "#ffffff", bold=True)
        pen.box(left, top - badge_top - 14, width_of(side, badge) + 14, 14, fill=colour, round_=3)
        pen.text(left + 7, top - badge_top - 10, side, badge)
        pen.block(left, top - badge_top - 19, below)
        pen.block(left, top - badge_top - 19 - below.height, no_proof)

    return Part(badge_top + 19 + below.height + no_proof.height, draw)


def _sentence(prediction: Prediction, words: Words, width: float) -> Block:
    score, threshold = figures.score_and_threshold(prediction.score, prediction.operating_point)
    key = "result.reaches" if prediction.positive else "result.below"
    text = words.say(key, score=score, name=prediction.operating_point.name, threshold=threshold)
    if words.label(prediction.label).upper() != prediction.label.upper():
        text += " " + words.say("result.label", label=prediction.label)
    return wrap(prose(text), Style(8.5), width, 3)


def _score(prediction: Prediction, contract: Contract, words: Words, left: float, width: float) -> Part:
    score, threshold = figures.score_and_threshold(prediction.score, prediction.operating_point)
    positives = ", ".join(words.label(label) for label in contract.positive_labels)
    caption = wrap(prose(words.say("score.meaning", labels=positives)), Style(7.5, FAINT), width, 2)
    mark = POSITIVE if prediction.positive else NEGATIVE
    limit = prediction.operating_point.threshold

    def draw(pen: Pen, top: float) -> None:
        pen.text(left, top - 8, words.say("score"), Style(8.5, FAINT, bold=True))
        bar = top - 40  # its lower edge
        pen.box(left, bar, width, _BAR, fill=_NEGATIVE_ZONE)
        pen.box(left + width * limit, bar, width * (1 - limit), _BAR, fill=_POSITIVE_ZONE)
        pen.box(left + width * limit - 0.6, bar - 3, 1.2, _BAR + 6, fill=INK)
        pen.pointer(left + width * prediction.score, bar + _BAR + 1, colour=mark)
        figure = Style(13, mark, bold=True)
        middle = _centre(left, width, left + width * prediction.score, width_of(score, figure))
        pen.text(middle, bar + _BAR + 9, score, figure, "middle")
        pen.text(left, bar - 11, "0", Style(7.5, FAINT))
        pen.text(left + width, bar - 11, "1", Style(7.5, FAINT), "end")
        text = words.say("score.operating_point", threshold=threshold)
        middle = _centre(left + 8, width - 16, left + width * limit, width_of(text, Style(7.5)))
        pen.text(middle, bar - 11, text, Style(7.5, INK), "middle")
        pen.block(left, bar - 17, caption)

    return Part(57 + caption.height, draw)


def _centre(left: float, width: float, wanted: float, text_width: float) -> float:
    """Where a text is centred: as wanted, or as near to it as keeps the text inside."""
    return min(max(wanted, left + text_width / 2), left + width - text_width / 2)
