"""The status of a row: whether its image has features, and if not, why."""

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
        """The status in words, `too large` for example."""
        return self.name.lower().replace("_", " ")


UNREAD = (Status.NEVER_WRITTEN, Status.UNREADABLE)  # another attempt may read the file
