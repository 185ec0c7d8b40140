"""`finetune_head`: fine-tuning as one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.defaults import MAX_BAD
from pipeline.errors import StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.durable import remove_temporaries
from pipeline.files.lock import lock_directory
from pipeline.finetune.tuning import CHECKPOINT, FinetunedResult, Tuning, read_maps
from pipeline.heads import make_head
from pipeline.store import FeatureStore, count_views
from pipeline.training.save_trained_head import save_trained_head
from pipeline.training.train_heads import check_ready


def finetune_head(
    store: FeatureStore,
    *,
    params: Mapping[str, Any] | None = None,
    dense: Mapping[str, Any] | None = None,
    max_bad: float = MAX_BAD,
    views: int | None = None,
    callbacks: Callbacks = SILENT,
) -> FinetunedResult:
    """Fine-tune the layers above a store's cut, score the result on its validation images, save it.

    Parameters
    ----------
    store : FeatureStore
        Cut at a layer whose output is all that the layers above need: `--cut top1`.
    params : mapping, optional
        Of `FinetunedHead`: `{"learning_rate": 1e-5}`.
    dense : mapping, optional
        Of the `DenseHead` that is trained on frozen features first, with the same patience if it is
        not given: a head that knows its training images by heart leaves nothing to tune.
    max_bad : float
        The largest fraction of images without features.
    views : int, optional
        Views of each train image to train on, view 0 among them; all that the store has if not
        given. Each epoch of either step draws one of them an image.
    callbacks : Callbacks, optional

    Returns
    -------
    FinetunedResult
        Saved under `store.heads_directory / "finetuned"`.

    Raises
    ------
    StoreError
        The store has no cut, is not finished, has fewer views, or no train or no validation images;
        StoreBusy where another process is fine-tuning.
    SpecError, StoreMismatch
        See `load_top_layers`.
    HeadError
        An unknown parameter, or one out of range.
    TooManyBadImages
    KeyboardInterrupt
        The same call goes on after the last epoch that was finished.

    Notes
    -----
    Memory is bounded: maps are read from the store in shuffled blocks, and the features of the
    frozen layers are kept in a temporary file where they would take more than half of what is free.
    """
    check_cut(store)
    check_ready(store, max_bad)
    head = make_head("finetuned", **(params or {}))
    first = make_head("dense", **{"patience": head.patience, **(dense or {})})
    head.check_params()
    first.check_params()
    from pipeline.conv_base.top_layers import load_top_layers  # imports TensorFlow

    maps = read_maps(store, count_views(store.directory) if views is None else views)
    tuning = Tuning(store, maps, load_top_layers(store.spec), callbacks)
    callbacks.finetune_planned(tuning.plan, store)
    with lock_directory(store.finetuning_directory):
        remove_temporaries(store.finetuning_directory)
        frozen = tuning.frozen_head(first)
        result = tuning.tune(head, *frozen)
        save_trained_head(result, store)
        (store.finetuning_directory / CHECKPOINT).unlink(missing_ok=True)
    return result


def check_cut(store: FeatureStore) -> None:
    """Whether a store was cut below its conv base's end.

    Raises
    ------
    StoreError
        It was not; the message names the command that makes one that is.
    """
    if store.spec.cut is None:
        source, conv_base = store.images.root, store.manifest.sources["conv_base"]
        raise StoreError(
            f"{store.directory} holds features from the end of the conv base, above which there is nothing to tune; "
            f"make a store that is cut lower: `python -m pipeline features {source} --cache {store.directory}-top1 "
            f"--conv-base {conv_base} --cut top1` with the other options as they were"
        )
