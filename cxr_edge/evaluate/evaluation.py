"""The evaluation itself: what was collected becomes a report."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cxr_edge import metrics
from cxr_edge._version import __version__
from cxr_edge.classifier import Classifier
from cxr_edge.errors import UsageError
from cxr_edge.evaluate import figures
from cxr_edge.evaluate.collect import Collected, digests
from cxr_edge.evaluate.doubts import warnings
from cxr_edge.evaluate.figures import Scored
from cxr_edge.evaluate.misread import misread
from cxr_edge.evaluate.proposal import Wish, propose
from cxr_edge.evaluate.report import Case, Data, LabelCount, Proposal, RejectedCase, Report
from cxr_edge.labelled import set_sha256
from cxr_edge.types import GateMode, ModelIdentity, OperatingPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How the images were taken.

    Attributes:
        description: of the images, in words.
        gate: the mode the classifier was loaded with.
        root: the folder that paths in the report are relative to; None: as they are.
        identifiers: whether paths and patients stand in the report.
        wish: by which rule to propose an operating point; None: propose none.
    """

    description: str
    gate: GateMode
    root: Path | None = None
    identifiers: bool = True
    wish: Wish | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is evaluated: a classifier, or a network that is none yet.

    Attributes:
        model: its name, version and SHA-256.
        execution_provider: what computes it.
        labels: in order.
        positive_labels: those whose summed probability is the score.
        operating_points: those whose thresholds the report compares.
        operating_point: the one in force.
        statement: of the intended use.
    """

    model: ModelIdentity
    execution_provider: str
    labels: tuple[str, ...]
    positive_labels: tuple[str, ...]
    operating_points: tuple[OperatingPoint, ...]
    operating_point: OperatingPoint
    statement: str


def subject_of(classifier: Classifier) -> Subject:
    """A classifier as it was loaded."""
    contract = classifier.contract
    return Subject(
        model=classifier.model,
        execution_provider=classifier.execution_provider,
        labels=contract.labels,
        positive_labels=contract.positive_labels,
        operating_points=contract.operating_points,
        operating_point=classifier.operating_point,
        statement=contract.intended_use.statement,
    )


def evaluate(subject: Classifier | Subject, collected: Collected, setting: Setting) -> Report:
    """All figures of what a classifier, or a network, gave for labelled images.

    Images are the unit, and patients too where any is known: a patient's score is the highest of its images', its truth
    positive if any image's is. Intervals by bootstrap draw whole patients. Where the rule that is to choose a threshold
    cannot be followed on these images, a warning says so, and nothing is proposed.
    """
    given = subject if isinstance(subject, Subject) else subject_of(subject)
    point, cases = given.operating_point, collected.cases
    sample = _Sample(cases, given.positive_labels)
    images, patients = sample.images, sample.patients
    data = _data(collected, setting, given.labels, None if patients is None else patients.positive.size)
    binary = figures.binary_figures(images, point.threshold)
    proposal, refused = _propose(setting.wish, images, data.description)
    proposed = () if proposal is None else (proposal.operating_point,)
    shown = _Shown(setting)
    return Report(
        schema_version=1,
        kind="evaluation",
        statement=given.statement,
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        software=__version__,
        model=given.model,
        execution_provider=given.execution_provider,
        operating_point=point,
        gate=setting.gate,
        labels=given.labels,
        positive_labels=given.positive_labels,
        data=data,
        warnings=(*warnings(collected, data, binary.counts, sample.conflicts), *refused),
        images=binary,
        patients=None if patients is None else figures.binary_figures(patients, point.threshold),
        by_label=figures.label_figures(cases, given.labels, images),
        rejected_as_errors=figures.rejected_as_errors(binary, collected.rejected, given.positive_labels),
        thresholds=figures.threshold_rows(images, (*_points(given.operating_points, point), *proposed)),
        roc=figures.points(metrics.roc_curve(images.positive, images.score)),
        precision_recall=figures.points(metrics.precision_recall_curve(images.positive, images.score)),
        reliability=metrics.reliability(images.positive, images.score),
        misread=tuple(shown.case(case) for case in misread(cases, given.positive_labels, point.threshold)),
        rejected=tuple(shown.rejected(case) for case in collected.rejected),
        conflicting_patients=sample.conflicts if setting.identifiers else (),
        proposal=proposal,
    )


class _Sample:
    """The classified images as arrays, and their patients where any is known."""

    def __init__(self, cases: Sequence[Case], positive_labels: Sequence[str]) -> None:
        positive = np.array([case.label in positive_labels for case in cases], np.bool_)
        score = np.array([case.score for case in cases], np.float64)
        names = [case.patient for case in cases]
        self.images, self.patients = Scored("image", positive, score), None
        self.conflicts: tuple[str, ...] = ()
        if any(name is not None for name in names):
            together = metrics.by_patient(names, positive, score)
            self.images = replace(self.images, groups=together.groups)
            self.patients = Scored("patient", together.positive, together.score)
            by_place = dict(zip(together.groups.tolist(), names, strict=True))
            self.conflicts = tuple(by_place[place] or "" for place in together.conflicts)


def _propose(wish: Wish | None, images: Scored, data: str) -> tuple[Proposal | None, tuple[str, ...]]:
    """A proposal, or the warning that says why there is none: the other figures are not to be lost over it."""
    if wish is None:
        return None, ()
    try:
        return propose(wish, images, data), ()
    except UsageError as error:
        return None, (f"no operating point can be proposed: {error}",)


@dataclass(frozen=True, slots=True)
class _Shown:
    """Cases as the report is to show them."""

    setting: Setting

    def case(self, case: Case) -> Case:
        if not self.setting.identifiers:
            return replace(case, path=None, patient=None)
        return replace(case, path=self._path(case.path))

    def rejected(self, case: RejectedCase) -> RejectedCase:
        return replace(case, path=self._path(case.path) if self.setting.identifiers else None)

    def _path(self, path: str | None) -> str | None:
        root = self.setting.root
        if path is None or root is None or not Path(path).is_relative_to(root):
            return path
        return Path(path).relative_to(root).as_posix()


def _data(collected: Collected, setting: Setting, labels: Sequence[str], patients: int | None) -> Data:
    cases, rejected = collected.cases, collected.rejected
    classified = Counter(case.label for case in cases)
    refused = Counter(case.label for case in rejected)
    return Data(
        description=setting.description,
        sha256=set_sha256(digests(collected)),
        images=len(cases) + len(rejected),
        classified=len(cases),
        rejected=len(rejected),
        refused_but_classified=sum(case.gate == "refused" for case in cases),
        duplicates=len(cases) - len({case.content_sha256 for case in cases}),
        patients=patients,
        images_without_patient=sum(case.patient is None for case in cases),
        by_label=tuple(
            LabelCount(
                label=label,
                images=classified[label] + refused[label],
                classified=classified[label],
                rejected=refused[label],
            )
            for label in labels
        ),
    )


def _points(contracts: Sequence[OperatingPoint], in_force: OperatingPoint) -> tuple[OperatingPoint, ...]:
    """The contract's operating points, and the one in force where it is a site's own."""
    return (*contracts, *(() if in_force in contracts else (in_force,)))
