"""Images that are one picture twice: a leak where they lie in two splits, a doubt under two labels.

Nothing here imports scikit-learn before `find_duplicates` is called.
"""

from pipeline.similar.exact import exact_duplicates
from pipeline.similar.groups import write_groups, write_pairs
from pipeline.similar.kept import keep_duplicates, kept_duplicates, known_duplicates
from pipeline.similar.pairs import Duplicates, Pair
from pipeline.similar.search import find_duplicates

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
