"""Evaluates a model on a manifest, with the field's measures, swap tests and intervals over patients."""

from tips_med.evaluation.asking import Asking
from tips_med.evaluation.gallery import Gallery
from tips_med.evaluation.page import write_evaluation
from tips_med.evaluation.run import Evaluation, evaluate_rows
from tips_med.evaluation.suite import EvaluatedRow, Suite

__all__ = ["Asking", "EvaluatedRow", "Evaluation", "Gallery", "Suite", "evaluate_rows", "write_evaluation"]
