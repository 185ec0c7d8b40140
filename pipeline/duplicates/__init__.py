"""Duplicates: images of the same picture, which leak between splits or carry two labels.

Nothing here imports scikit-learn before `find_duplicates` is called.
"""

from pipeline.duplicates.csv_files import write_groups, write_pairs
from pipeline.duplicates.equal_files import exact_duplicates
from pipeline.duplicates.pairs import Duplicates, Pair
from pipeline.duplicates.saved_result import known_duplicates, load_duplicates, save_duplicates
from pipeline.duplicates.search import find_duplicates

__all__ = [
    "Duplicates",
    "Pair",
    "exact_duplicates",
    "find_duplicates",
    "known_duplicates",
    "load_duplicates",
    "save_duplicates",
    "write_groups",
    "write_pairs",
]
