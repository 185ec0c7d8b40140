"""Images that are one picture twice: a leak where they lie in two splits, a doubt under two labels.

Nothing here imports scikit-learn before `find_duplicates` is called.
"""

from pipeline.duplicates.cache import keep_duplicates, kept_duplicates, known_duplicates
from pipeline.duplicates.exact import exact_duplicates
from pipeline.duplicates.groups import write_groups, write_pairs
from pipeline.duplicates.pairs import Duplicates, Pair
from pipeline.duplicates.search import find_duplicates

__all__ = [
    "Duplicates",
    "Pair",
    "exact_duplicates",
    "find_duplicates",
    "keep_duplicates",
    "kept_duplicates",
    "known_duplicates",
    "write_groups",
    "write_pairs",
]
