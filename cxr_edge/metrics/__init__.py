"""Figures of merit: pure functions on arrays. Truth and scores in, numbers with 95 % intervals out."""

from cxr_edge.metrics.bootstrap import bootstrap_interval
from cxr_edge.metrics.calibration import ReliabilityBin, brier_score, expected_calibration_error, reliability
from cxr_edge.metrics.classes import ClassFigures, class_figures, confusion_matrix, macro_recall
from cxr_edge.metrics.counts import Counts, count_at, share, wilson_interval
from cxr_edge.metrics.patients import Patients, by_patient, describe_lumped
from cxr_edge.metrics.ranking import (
    Curve,
    auc,
    auc_interval,
    average_precision,
    precision_recall_curve,
    roc_curve,
)
from cxr_edge.metrics.thresholds import ThresholdRule, choose_threshold

__all__ = [
    "ClassFigures",
    "Counts",
    "Curve",
    "Patients",
    "ReliabilityBin",
    "ThresholdRule",
    "auc",
    "auc_interval",
    "average_precision",
    "bootstrap_interval",
    "brier_score",
    "by_patient",
    "choose_threshold",
    "class_figures",
    "confusion_matrix",
    "count_at",
    "describe_lumped",
    "expected_calibration_error",
    "macro_recall",
    "precision_recall_curve",
    "reliability",
    "roc_curve",
    "share",
    "wilson_interval",
]
