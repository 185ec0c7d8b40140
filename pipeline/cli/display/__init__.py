"""What the command line shows of images, stores and heads."""

from pipeline.cli.display.leaderboard import leaderboard
from pipeline.cli.display.progress import ConsoleCallbacks, show_scan
from pipeline.cli.display.tables import show_agreement, show_findings, show_images, show_info
from pipeline.cli.display.words import (
    MAX_LISTED,
    duplicates_words,
    list_some,
    warn_of_heads,
    warn_of_leaks,
    warn_random_weights,
)

__all__ = [
    "MAX_LISTED",
    "ConsoleCallbacks",
    "duplicates_words",
    "leaderboard",
    "list_some",
    "show_agreement",
    "show_findings",
    "show_images",
    "show_info",
    "show_scan",
    "warn_of_heads",
    "warn_of_leaks",
    "warn_random_weights",
]
