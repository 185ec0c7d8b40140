"""Comparing conv bases on the user's own images: accuracy, speed, size, and which one to take."""

from pipeline.comparison.advice import Budgets
from pipeline.comparison.compare import compare_conv_bases
from pipeline.comparison.result import Comparison, read_comparison
from pipeline.comparison.row import ComparedRow

__all__ = ["Budgets", "ComparedRow", "Comparison", "compare_conv_bases", "read_comparison"]
