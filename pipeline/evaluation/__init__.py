"""How good a head is, how sure that is, and how much it hangs on a seed."""

from pipeline.evaluation.evaluate import Evaluation, evaluate, rank, with_interval
from pipeline.evaluation.repeats import Repeats, seeds_of

__all__ = ["Evaluation", "Repeats", "evaluate", "rank", "seeds_of", "with_interval"]
