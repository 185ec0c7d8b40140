"""`ImageCounter`: counts the images of a step, of all views together for example."""

from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.run_conv_base import Row


class ImageCounter:
    """Counts the images of a step and reports each of them to `callbacks`."""

    def __init__(self, step: str, total: int, callbacks: Callbacks):
        self.step, self.total, self.callbacks, self.done = step, total, callbacks, 0
        callbacks.progress(step, 0, total, "images")

    def advance(self, row: Row) -> None:
        """Count the image of a row, and report it if it has no features."""
        if row.features is None and row.task.id is not None:
            self.callbacks.image_rejected(row.task.id, row.reason)
        self.advance_by(1)

    def advance_by(self, images: int) -> None:
        """Count images."""
        self.done += images
        self.callbacks.progress(self.step, self.done, self.total, "images")
