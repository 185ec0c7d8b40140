"""What became of an image: the `status` of its row."""

from enum import IntEnum


class Status(IntEnum):
    """The status of a row; only OK rows carry features."""

    NEVER_WRITTEN = 0
    OK = 1
    UNDECODABLE = 2
    UNREADABLE = 3
    TOO_LARGE = 4
    NOT_FINITE = 5

    @property
    def words(self) -> str:
        """The status as a person reads it: `too large`."""
        return self.name.lower().replace("_", " ")
