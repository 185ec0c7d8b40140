"""Choose the saved head to predict with: the one with the given name, or the best."""

import logging
from collections.abc import Sequence

from pipeline.errors import HeadError
from pipeline.store import FeatureStore
from pipeline.training.saved_heads import OTHER_CLASSES, SavedHead, advise_training, list_saved_heads

logger = logging.getLogger(__name__)


def choose_head(store: FeatureStore, name: str | None = None, among: Sequence[str] | None = None) -> SavedHead:
    """Return the saved head called `name`, or the best one.

    A stale head is chosen only if there is no other, and a head of other classes only if there is no
    stale head either. A warning says what is wrong with the chosen head. `among` limits the names that
    the best head is chosen from. If there is no head to choose, the HeadError lists those that are saved.
    """
    heads = list_saved_heads(store)
    if name is not None:
        candidates = [head for head in heads if head.name == name]
    else:
        candidates = [head for head in heads if head.trained and (among is None or head.name in among)]
        candidates = candidates or [head for head in heads if head.problem == OTHER_CLASSES and among is None]
    if not candidates:
        saved = ", ".join(sorted(head.name for head in heads)) or "none"
        wanted = (
            f"head {name!r} is saved" if name else f"trained head for this store, of {', '.join(among or ['any'])},"
        )
        raise HeadError(f"no {wanted} in {store.heads_directory}; there are {saved}; {advise_training(store)}")
    head = candidates[0]
    if head.problem:
        logger.warning("%s in %s: %s; %s", head.name, store.heads_directory, head.problem, advise_training(store))
    return head
