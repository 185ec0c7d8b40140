"""`open_joined`: what `cache/a+cache/b` on the command line means."""

from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.joined.join_stores import join_stores
from pipeline.store import FeatureStore, open_features
from pipeline.store.file_names import MANIFEST


def open_joined(text: str, callbacks: Callbacks = SILENT) -> FeatureStore:
    """Open the store that a text names, a directory or `A+B`, and bring it up to date if it is joined.

    A directory that is a store is meant first. Otherwise the text is split at `+` such that all pieces are stores,
    whose names may contain a `+` themselves. A joined store whose parts are gone is taken as it is.

    Raises
    ------
    StoreError
        There is no such store, or the text can be split in several ways; see `join_stores` for the others.
    """
    if _is_store(text) or "+" not in text:
        store = open_features(text)
        parts = store.joined_directories
        if parts and all(_is_store(str(part)) for part in parts):
            return join_stores(parts, text, callbacks=callbacks)
        return store
    ways = [way for way in _ways_to_split(text) if len(way) > 1]
    if len(ways) > 1:
        raise StoreError(f"{text} can mean {' or '.join(map(' and '.join, ways))}; rename one of these stores")
    if not ways:
        missing = [piece or "an empty name" for piece in _likeliest_pieces(text) if not _is_store(piece)]
        raise StoreError(f"there is no store at {text}, nor at {' and '.join(missing)}, which would be a part of it")
    return join_stores(ways[0], callbacks=callbacks)


def _is_store(text: str) -> bool:
    return bool(text) and (Path(text) / MANIFEST).is_file()


def _ways_to_split(text: str) -> list[list[str]]:
    """Return the ways to split a text at `+` into directories of stores."""
    ways = [[text]] if _is_store(text) else []
    for head, tail in _splits(text):
        if _is_store(head):
            ways += [[head, *way] for way in _ways_to_split(tail)]
    return ways


def _likeliest_pieces(text: str) -> tuple[str, ...]:
    """Return the pieces of a text with the fewest characters in pieces that are not stores."""

    @lru_cache(None)
    def best(text: str) -> tuple[int, int, tuple[str, ...]]:
        missing = 0 if _is_store(text) else len(text)
        ways: list[tuple[int, int, tuple[str, ...]]] = [(missing, 1, (text,))]
        for head, tail in _splits(text):
            lacking, pieces, way = best(tail)
            ways.append((lacking + (0 if _is_store(head) else len(head)), pieces + 1, (head, *way)))
        return min(ways)

    return best(text)[2]


def _splits(text: str) -> list[tuple[str, str]]:
    """Return what stands before and after each `+` of a text."""
    pieces = text.split("+")
    heads = list(accumulate(pieces, "{}+{}".format))[:-1]
    return [(head, text[len(head) + 1 :]) for head in heads]
