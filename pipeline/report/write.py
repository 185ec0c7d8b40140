"""`write_report`: one HTML file about a store and its heads."""

from pathlib import Path

from pipeline.errors import StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.durable import is_replaceable, write_durably
from pipeline.report.collect import collect
from pipeline.report.render import render
from pipeline.store import FeatureStore


def write_report(
    store: FeatureStore,
    file: str | Path,
    *,
    head: str | None = None,
    callbacks: Callbacks = SILENT,
) -> Path:
    """Write one HTML file that shows what a store holds and how good its heads are.

    The file is self-contained: it needs no network and has no scripts. Heads that cannot be loaded are
    listed with the reason. Images are read from where they were when the store was filled; an image that
    is missing or was changed is replaced by a placeholder.

    Parameters
    ----------
    store : FeatureStore
    file : path
        File to write. An existing report is replaced in one step; any other existing file is an error.
    head : str, optional
        Name of the saved head to show in detail; by default the one with the best validation accuracy.
    callbacks : Callbacks, optional

    Returns
    -------
    Path
        The file.

    Raises
    ------
    HeadError
        There is no head with the name `head`, or it cannot be shown.
    StoreError
        `file` is a directory or not a report, or its directory does not exist.
    StoreDamaged
        A row of features was changed after it was written.
    OSError
        The disk is full or fails; `file` is unchanged.
    """
    path = Path(file)
    if path.is_dir():
        raise StoreError(f"{path} is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent} is no directory; make it before writing {path.name} into it")
    if not is_replaceable(path, rb"<!DOCTYPE html>"):
        raise StoreError(f"{path} exists and is no report; give another name, or remove it")
    write_durably(path, render(collect(store, head, callbacks)).encode())
    return path
