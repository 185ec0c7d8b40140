"""How good a head is, how sure that is, and how much it hangs on a seed."""

from pipeline.evaluation.repeats import Repeats, seeds_of
from pipeline.evaluation.report import Report, evaluate, rank, with_interval

__all__ = ["Repeats", "Report", "evaluate", "rank", "seeds_of", "with_interval"]
