"""Scores of a head: their confidence intervals, their spread over seeds, and plots of them."""

from pipeline.evaluation.evaluate import Evaluation, evaluate, with_interval
from pipeline.evaluation.repeats import Repeats, seeds_of

__all__ = ["Evaluation", "Repeats", "evaluate", "seeds_of", "with_interval"]
