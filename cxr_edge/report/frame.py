"""What frames the result: the heading, the notice, the lines to sign and the foot of the page."""

from cxr_edge._version import __version__
from cxr_edge.contract import Contract
from cxr_edge.report.pen import CAUTION, CAUTION_FILL, FAINT, INK, LINE, MM, POSITIVE, POSITIVE_FILL, Part, Pen
from cxr_edge.report.statement import statement
from cxr_edge.report.text import Style, prose, shortened, wrap
from cxr_edge.report.words import Words
from cxr_edge.types import ModelIdentity

MOST_STATEMENT = 3  # lines; never fewer, whatever else there is to say
_SHARES_TO_SIGN = {"patient": 0.33, "reader": 0.27, "date": 0.15, "signature": 0.25}


def heading(words: Words, created: str, left: float, width: float) -> Part:
    """Title, what this is, and when it was made."""

    def draw(pen: Pen, top: float) -> None:
        pen.text(left, top - 13, words.say("title"), Style(16, INK, bold=True))
        pen.text(left, top - 27, words.say("subtitle"), Style(8.5, FAINT))
        pen.text(left + width, top - 27, f"{words.say('created')}: {created}", Style(8.5, FAINT), "end")
        pen.rule(left, top - 33, width, colour=INK, thickness=1.2)

    return Part(34, draw)


def notice(words: Words, contract: Contract, left: float, width: float) -> Part:
    """Not a medical device, what the model is for, and in small print what its contract says beyond that."""
    inset = 7.0
    said, stated = words.say("notice"), statement(contract, words)
    original = "" if stated.original is None else words.say("statement.original", text=stated.original)
    blocks = (
        wrap(said, Style(11.5, CAUTION, bold=True), width - 2 * inset, 1),
        wrap(prose(stated.text.removeprefix(said)), Style(8, INK), width - 2 * inset, MOST_STATEMENT),
        wrap(prose(original), Style(6.8, FAINT), width - 2 * inset, MOST_STATEMENT),
    )
    height = sum(block.height for block in blocks) + 2 * inset - 2

    def draw(pen: Pen, top: float) -> None:
        pen.box(left, top - height, width, height, fill=CAUTION_FILL, edge=CAUTION, round_=3)
        y = top - inset + 1
        for block in blocks:
            pen.block(left + inset, y, block)
            y -= block.height

    return Part(height, draw)


def refusal(words: Words, left: float, width: float) -> Part:
    """Before the result: the gate refused the image that it is of."""
    height, style = 20.0, Style(10.5, POSITIVE, bold=True)
    text = shortened(words.say("result.refused"), style, width - 14)

    def draw(pen: Pen, top: float) -> None:
        pen.box(left, top - height, width, height, fill=POSITIVE_FILL, edge=POSITIVE, round_=3)
        pen.text(left + 7, top - height + 6, text, style)

    return Part(height, draw)


def signature(words: Words, left: float, width: float) -> Part:
    """Lines to be filled in by hand."""
    gap = 5 * MM

    def draw(pen: Pen, top: float) -> None:
        x = left
        for key, share in _SHARES_TO_SIGN.items():
            length = width * share - gap
            pen.rule(x, top - 24, length, colour=FAINT)
            pen.text(x, top - 33, words.say(f"signature.{key}"), Style(7.5, FAINT))
            x += width * share + gap / (len(_SHARES_TO_SIGN) - 1)

    return Part(35, draw)


def foot(pen: Pen, words: Words, model: ModelIdentity, left: float, width: float, baseline: float) -> None:
    """Which model and software, and what could not be drawn; drawn last, when that is known."""
    style = Style(6.8, FAINT)
    pen.rule(left, baseline + 9, width, colour=LINE)
    about = f"cxr-edge {__version__}  ·  {model.name} {model.version}"
    pen.text(left, baseline, shortened(prose(about), style, width * 0.42), style)
    if pen.coded:
        pen.text(left + width * 0.45, baseline, words.say("footer.not_drawn"), style)
    pen.text(left + width, baseline, words.say("footer.page"), style, "end")
