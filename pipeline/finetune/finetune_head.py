"""`finetune_head`: train the layers above a store's cut together with a head."""

from collections.abc import Mapping
from typing import Any

from pipeline.defaults import MAX_BAD
from pipeline.errors import StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.durable import remove_temporaries
from pipeline.files.lock import lock_directory
from pipeline.finetune.result import FinetunedResult
from pipeline.finetune.tuning import CHECKPOINT, Tuning
from pipeline.heads import make_head
from pipeline.store import FeatureStore, count_views
from pipeline.text import COMMAND
from pipeline.training.fit_and_score import open_splits
from pipeline.training.save_with_scores import save_trained_head
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
    """Fine-tune the layers above a store's cut, score the result on its validation images and save it.

    Interrupted and called again, it continues after the last complete epoch.

    Parameters
    ----------
    store : FeatureStore
        A store that was cut at a layer on whose output alone the layers above depend: `--cut top1`.
    params : mapping, optional
        Parameters of `FinetunedHead`: `{"learning_rate": 1e-5}`.
    dense : mapping, optional
        Parameters of the `DenseHead` that is trained on frozen features first. Its patience is that of
        `FinetunedHead` by default, as an overfitted head leaves nothing to tune.
    max_bad : float
        The largest accepted fraction of images without features.
    views : int, optional
        Number of views of each train image to train on, view 0 included; all views of the store if
        not given. Each epoch draws one view of each image.
    callbacks : Callbacks, optional
        `finetune_planned`, `progress`, `epoch_done`, `frozen_head_trained` and `finetune_resumed` are called.

    Returns
    -------
    FinetunedResult
        The head, saved under `store.heads_directory / "finetuned"`, and its scores.

    Raises
    ------
    StoreError
        The store has no cut, is not complete, has fewer views, or no train or no validation images.
    StoreBusy
        Another process is fine-tuning on this store.
    SpecError, StoreMismatch
        See `load_top_layers`.
    HeadError
        A parameter is unknown or out of range.
    TooManyBadImages
        More images than `max_bad` have no features.

    Notes
    -----
    Memory is bounded: maps are read from the store in shuffled blocks, and the features of the
    frozen layers are written to a temporary file if they take more than half of the free memory.
    """
    check_cut(store)
    check_ready(store, max_bad)
    head = make_head("finetuned", **(params or {}))
    dense_head = make_head("dense", **{"patience": head.patience, **(dense or {})})
    head.check_params()
    dense_head.check_params()
    from pipeline.conv_base.load_top_layers import load_top_layers  # imports TensorFlow

    views = count_views(store.directory) if views is None else views
    tuning = Tuning(store, open_splits(store, views), views, load_top_layers(store.conv_base_spec), callbacks)
    callbacks.finetune_planned(tuning.plan, store)
    with lock_directory(store.finetuning_directory):
        remove_temporaries(store.finetuning_directory)
        result = tuning.tune(head, *tuning.train_frozen_head(dense_head))
        save_trained_head(result, store)
        (store.finetuning_directory / CHECKPOINT).unlink(missing_ok=True)
    return result


def check_cut(store: FeatureStore) -> None:
    """Raise StoreError if there are no layers above the features of a store, with the command that makes another."""
    if store.conv_base_spec.kind == "onnx":
        raise StoreError(f"{store.directory} holds features of an ONNX model, whose layers cannot be trained")
    if store.conv_base_spec.cut is None:
        source, conv_base = store.images.root, store.manifest.sources["conv_base"]
        raise StoreError(
            f"{store.directory} holds features from the end of the conv base, above which there are no layers to tune; "
            f"make a store that is cut lower: `{COMMAND} features {source} --cache {store.directory}-top1 "
            f"--conv-base {conv_base} --cut top1` with the other options unchanged"
        )
