"""Whether the image itself looks like those the model was trained on: what tags cannot say, or say wrongly.

Three questions: do the network's own features lie near those of the training images; is it dark and bright where a
frontal chest radiograph is; is it the right way up. A finding refuses, unless Body Part Examined itself affirms what
the model needs: then it warns, as adults and other detectors may lie outside, too. Twice beyond the limit no tag is
believed any more.
"""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from cxr_edge.contract import LAYOUT_SIDE, GatePolicy, Layout, OutOfDistribution
from cxr_edge.errors import ModelError, Reason
from cxr_edge.types import Gate, GateMode, GateStatus, Note, Tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

UNCHECKED = Note("no_image_check", "this model has no check of the image itself: whatever it shows is classified")
FURTHEST_AFFIRMED = 2.0  # times the limit; the real adult radiographs at hand lie at 0.6 to 1.2, a blank film at 3


@dataclass(frozen=True, slots=True, eq=False)
class _Limits:
    """The contract's layout with its templates decoded, (16, 16) each."""

    template: "NDArray[np.float64]"
    minimum_correlation: float
    upright: "NDArray[np.float64]"
    minimum_upright: float

    @classmethod
    def of(cls, layout: Layout) -> Self:
        template, upright = read_template(layout.template), read_template(layout.upright)
        return cls(template, layout.minimum_correlation, upright, layout.minimum_upright)


class ImageGate:
    """The image part of the gate, as one policy and one gate mode say. Holds no state."""

    def __init__(self, policy: GatePolicy, mode: GateMode, *, body_parts: tuple[str, ...] = ()) -> None:
        """Take the limits of a contract; mode `off` judges nothing.

        Args:
            policy: the limits.
            mode: of the gate.
            body_parts: those that the contract needs; where it needs none, no tag can affirm one.
        """
        self._names_body_parts = bool(body_parts)
        self._mode = mode
        self._features: OutOfDistribution | None = policy.out_of_distribution if mode != "off" else None
        self._layout = _Limits.of(policy.layout) if policy.layout is not None and mode != "off" else None
        self._checks_nothing = mode != "off" and self._features is None and self._layout is None

    @property
    def needs_features(self) -> bool:
        """Whether the network's features have to be computed."""
        return self._features is not None

    def judge(
        self, by_tags: Gate, tags: Tags | None, gray: "NDArray[np.generic]", features: "NDArray[np.float32] | None"
    ) -> Gate:
        """Add what the image says to what its tags say; unasked, `ok` becomes `unknown`.

        Args:
            by_tags: the gate's answer to the tags.
            tags: of the image; None for a file that carries none.
            gray: (height, width), one channel of the network's input before any normalization, or an increasing linear
                function of it.
            features: float32 (components,), the graph's output; None when they are not needed.

        Raises:
            ModelError: the features are no finite numbers.
        """
        if self._checks_nothing:
            return Gate("unknown" if by_tags.status == "ok" else by_tags.status, (*by_tags.reasons, UNCHECKED))
        distance, notes = None, []
        if self._features is not None and features is not None:
            distance = feature_distance(features, self._features)
            notes += list(_far(distance))
        if self._layout is not None:
            notes += list(_laid_out(gray, self._layout))
        if not notes:
            return Gate(by_tags.status, by_tags.reasons, distance)
        refused = by_tags.status == "refused"
        affirmed = self._names_body_parts and _affirms_body_part(tags, by_tags)
        affirmed = affirmed and (distance or 0) <= FURTHEST_AFFIRMED
        status: GateStatus = "warn" if affirmed and not refused else "refused"
        reasons = (*by_tags.reasons, *notes) if affirmed or refused else (*notes, *by_tags.reasons)
        return Gate(status, reasons, distance)


def feature_distance(features: "NDArray[np.float32]", limit: OutOfDistribution) -> float:
    """Mahalanobis distance over its threshold: above 1 is out of distribution.

    Args:
        features: float32 (components,), whitened.
        limit: holds the threshold.

    Raises:
        ModelError: the features are no finite numbers, or not as many as the contract says.
    """
    if features.shape != (limit.components,) or not np.isfinite(features).all():
        message = f"the model gave features of shape {features.shape}, or numbers that are none"
        raise ModelError(message)
    return float(np.linalg.norm(features.astype(np.float64)) / limit.threshold)


def layout_of(gray: "NDArray[np.generic]") -> "NDArray[np.float64]":
    """Where an image is bright and dark: (16, 16), zero mean, unit norm; zeros for a constant image.

    Args:
        gray: (height, width), any real dtype.
    """
    from PIL import Image

    small = Image.fromarray(np.asarray(gray, np.float32)).resize((LAYOUT_SIDE, LAYOUT_SIDE), Image.Resampling.BOX)
    values = np.asarray(small, np.float64)
    centred = values - values.mean()
    norm = float(np.linalg.norm(centred))
    layout: NDArray[np.float64] = centred / norm if norm > 1e-6 * (1 + float(np.abs(values).max())) else centred * 0
    return layout


def read_template(text: str) -> "NDArray[np.float64]":
    """A template of the contract, (16, 16)."""
    values = np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)
    return values.reshape(LAYOUT_SIDE, LAYOUT_SIDE)


def _affirms_body_part(tags: Tags | None, by_tags: Gate) -> bool:
    objected = Reason.GATE_BODY_PART.value in {note.code for note in by_tags.reasons}
    return tags is not None and tags.body_part_examined is not None and not objected


def _far(distance: float) -> "Iterator[Note]":
    if distance > 1:
        message = (
            "the image is unlike the radiographs that the model was trained on: "
            f"feature distance {distance:.2f} times the limit"
        )
        yield Note(Reason.GATE_OUT_OF_DISTRIBUTION.value, message)


def _laid_out(gray: "NDArray[np.generic]", limit: _Limits) -> "Iterator[Note]":
    layout = layout_of(gray)
    correlation = float((layout * limit.template).sum())
    if correlation < limit.minimum_correlation:
        message = (
            "bright and dark look inverted, or this is no frontal chest radiograph: correlation "
            f"{correlation:.2f} with the mean training image; need {limit.minimum_correlation:g} or more"
        )
        yield Note(Reason.GATE_POLARITY.value, message)
    elif float((layout * limit.upright).sum()) < limit.minimum_upright:
        message = "the image looks upside down, or this is no frontal chest radiograph"
        yield Note(Reason.GATE_ORIENTATION.value, message)
