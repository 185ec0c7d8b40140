"""`EpochProgress`: the progress of a training that may continue after the epochs of an interrupted run."""

from pipeline.extraction.callbacks import Callbacks


class EpochProgress:
    """Reports the images of all epochs that are still to be run."""

    def __init__(self, step: str, epochs: int, images: int, callbacks: Callbacks):
        self.step, self.epochs, self.images, self.callbacks, self.done = step, epochs, images, callbacks, 0

    def resume(self, epochs: int) -> None:
        """Leave out the `epochs` epochs of an interrupted run."""
        self.epochs -= epochs
        self.callbacks.finetune_resumed(epochs)

    def advance(self, images: int) -> None:
        """Report `images` more images."""
        self.done += images
        self.callbacks.progress(self.step, self.done, self.epochs * self.images, "images")
