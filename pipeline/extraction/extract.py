"""`extract_features`: run the frozen conv base once over every image and store its features."""

from dataclasses import replace
from pathlib import Path

from pipeline.cluster import Cluster
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.defaults import EXTRACT_BATCH
from pipeline.errors import StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.choose_engine import choose_engine
from pipeline.extraction.fill_store import StoreFiller
from pipeline.extraction.view_plan import plan_views
from pipeline.images.augment import Augmentation
from pipeline.images.decode import DECODER
from pipeline.images.table import ImageTable
from pipeline.store import FeatureStore, StoreLayout, drop_views, read_manifest


def extract_features(
    images: ImageTable,
    directory: str | Path,
    spec: ConvBaseSpec | None = None,
    *,
    views: int | None = None,
    augmentation: Augmentation | None = None,
    batch_size: int = EXTRACT_BATCH,
    workers: int | None = None,
    compression: str = "none",
    rebuild: bool = False,
    plan_only: bool = False,
    cluster: Cluster | None = None,
    mixed: bool = False,
    callbacks: Callbacks = SILENT,
) -> FeatureStore:
    """Fill or update a store; nothing is loaded or written if it is up to date.

    Parameters
    ----------
    images : ImageTable
        The images, as `scan_images` returns them.
    directory : path
        The directory of the store, which is created if it does not exist.
    spec : ConvBaseSpec, optional
        The conv base; VGG16 at 150x150 with ImageNet weights if not given.
    views : int, optional
        Number of views of each train image that the store is to have: view 0, the image itself, and
        `views - 1` augmented copies. Views above this number are deleted. If it is not given, the
        store keeps the views that it has, and they are brought up to date.
    augmentation : Augmentation, optional
        Settings of the augmented copies; those of the store's views, or else the defaults, if not
        given.
    batch_size : int
        Largest number of images per forward pass; changes no value.
    workers : int, optional
        Threads that decode images; one per core if not given.
    compression : {"none", "gzip"}
        Compression of a new store's shards; compressed shards cannot be memory-mapped.
    rebuild : bool
        Whether to delete the features that the store has and to compute all of them again.
    plan_only : bool
        Whether to write the plan of what is missing into the store and to compute nothing. `compute_part` computes it
        then, in as many processes as one likes. Views are planned once all images have features.
    cluster : Cluster, optional
        The workers that compute, see `open_cluster`; this process if not given. The workers must have the images, the
        conv base and the store under the same paths.
    mixed : bool
        Whether workers may compute features that differ from the store's within the tolerance of its precision.
    callbacks : Callbacks, optional

    Returns
    -------
    FeatureStore
        Its `.bad` lists the images without features; `open_views(store)` opens its views.

    Raises
    ------
    StoreMismatch
        The store or a view was made with another spec; `.differences` lists the fields.
    StoreBusy
        Another process writes to the store.
    StoreDamaged
        The store's manifest or index, or those of a view, are damaged.
    StoreError
        The store cannot be written to or is joined, or `augmentation` is given for a store without augmented
        views and `views` is not.
    SpecError
        The conv base cannot be loaded.
    ClusterError
        No worker is left, or the scheduler is gone; finished shards are kept.
    OSError
        A full disk or an I/O error; finished shards are kept.
    KeyboardInterrupt
        Finished shards are kept; the same call computes the others.
    """
    directory = Path(directory)
    spec = replace(spec or ConvBaseSpec(), decoder=DECODER)
    if compression not in ("none", "gzip") or batch_size < 1 or (views is not None and views < 1):
        raise StoreError(f"compression {compression!r}, batch_size {batch_size} or views {views} is out of range")
    _check_not_joined(directory)
    planned_views = [] if views == 1 else plan_views(directory, views, augmentation, rebuild=rebuild)
    filler = StoreFiller(
        choose_engine(cluster, batch_size, workers, mixed, callbacks),
        None if compression == "none" else compression,
        rebuild,
        callbacks,
        plan_only=plan_only,
        for_others=plan_only or cluster is not None,
        mixed=mixed,
    )
    store = filler.fill(images, directory, spec)
    if dropped := drop_views(directory, len(planned_views) + 1):
        callbacks.views_dropped(dropped)
    if plan_only and store.pending:
        return store
    if planned_views and len(members := store.members("train")):
        # The conv base and its weights may have been moved since the store was made.
        base_spec = replace(store.conv_base_spec, conv_base=spec.conv_base, weights=spec.weights)
        filler.fill_views(store, replace(images.take(members), skipped=()), base_spec, planned_views)
    return store


def _check_not_joined(directory: Path) -> None:
    try:
        manifest = read_manifest(directory)
    except StoreError:  # there is no store yet, or `StoreFiller` tells what is wrong with it
        return
    StoreLayout(directory, manifest).check_not_joined()
