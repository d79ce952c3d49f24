"""What the model decided: the class in plain words, and the score against the operating point."""

from cxr_edge.contract import Contract
from cxr_edge.decide import more_probable
from cxr_edge.report.pen import CAUTION, CAUTION_FILL, FAINT, INK, NEGATIVE, POSITIVE, Part, Pen, beside
from cxr_edge.report.text import Block, Style, prose, width_of, wrap
from cxr_edge.report.words import Words
from cxr_edge.types import Prediction, side_is_label

_BAR = 9.0  # points
_NEGATIVE_ZONE, _POSITIVE_ZONE = "#d7e5e7", "#f1d6d2"


def result(prediction: Prediction, contract: Contract, words: Words, left: float, width: float) -> Part:
    """The class on the left, the score on its scale on the right; without their colours where the gate refused."""
    class_, score = (
        _class(prediction, words, left, width * 0.46),
        _score(prediction, contract, words, left + width * 0.5, width * 0.5),
    )
    return beside(class_, score)


def _colour(prediction: Prediction) -> str:
    if prediction.gate.status == "refused":
        return FAINT
    return POSITIVE if prediction.positive else NEGATIVE


def _class(prediction: Prediction, words: Words, left: float, width: float) -> Part:
    name = prose(words.heading(prediction.label))
    size = next((size for size in (24.0, 18.0, 14.0) if width_of(name, Style(size, bold=True)) <= width), 12.0)
    refused = prediction.gate.status == "refused"
    title = wrap(name, Style(size, FAINT if refused else INK, bold=True), width, 2)
    own = _own(prediction, words, width)
    below = _sentence(prediction, words, width)
    no_proof = wrap("" if prediction.positive else words.say("result.no_proof"), Style(8.5, INK, bold=True), width, 2)
    own_top = 12 + title.height + 2
    badge_top = own_top + (own.height + 3 if own.lines else 0)

    def draw(pen: Pen, top: float) -> None:
        pen.text(left, top - 8, words.say("result"), Style(8.5, FAINT, bold=True))
        pen.block(left, top - 12, title)
        pen.block(left, top - own_top, own)
        _badges(pen, prediction, words, left, top - badge_top)
        pen.block(left, top - badge_top - 19, below)
        pen.block(left, top - badge_top - 19 - below.height, no_proof)

    return Part(badge_top + 19 + below.height + no_proof.height, draw)


def _own(prediction: Prediction, words: Words, width: float) -> Block:
    """Of more than two labels: how probable the one given is by itself, and which one is more so."""
    style, probabilities = Style(8.5, INK), prediction.probabilities
    if side_is_label(probabilities):
        return Block((), style)
    shown = words.figures.probability
    said = wrap(prose(words.say("result.own", probability=shown(probabilities[prediction.label]))), style, width, 2)
    best = more_probable(prediction.label, probabilities)
    if best is None:
        return said
    values = {"label": words.label(best), "probability": shown(probabilities[best])}
    more = wrap(prose(words.say("result.more_probable", **values)), style, width, 4)
    return Block((*said.lines, *more.lines), style)


def _badges(pen: Pen, prediction: Prediction, words: Words, left: float, top: float) -> None:
    """Positive or negative, and whether there is doubt about the image."""
    side = words.say("result.positive" if prediction.positive else "result.negative").upper()
    colour, style = _colour(prediction), Style(8.5, "#ffffff", bold=True)
    width = width_of(side, style) + 14
    pen.box(left, top - 14, width, 14, fill=colour, round_=3)
    pen.text(left + 7, top - 10, side, style)
    if prediction.gate.status in ("warn", "unknown"):
        doubt, style = words.say(f"result.{prediction.gate.status}").upper(), Style(8.5, CAUTION, bold=True)
        pen.box(left + width + 6, top - 14, width_of(doubt, style) + 14, 14, fill=CAUTION_FILL, edge=CAUTION, round_=3)
        pen.text(left + width + 13, top - 10, doubt, style)


def _sentence(prediction: Prediction, words: Words, width: float) -> Block:
    score, threshold = words.figures.score_and_threshold(prediction.score, prediction.operating_point)
    key = "result.reaches" if prediction.positive else "result.below"
    name = words.point(prediction.operating_point)
    return wrap(prose(words.say(key, score=score, name=name, threshold=threshold)), Style(8.5), width, 3)


def _score(prediction: Prediction, contract: Contract, words: Words, left: float, width: float) -> Part:
    score, threshold = words.figures.score_and_threshold(prediction.score, prediction.operating_point)
    positives = ", ".join(words.label(label) for label in contract.positive_labels)
    caption = wrap(prose(words.say("score.meaning", labels=positives)), Style(7.5, FAINT), width, 2)
    mark = _colour(prediction)
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
