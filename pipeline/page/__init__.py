"""What is known of a store and its heads as one HTML page: `write_report`."""

from pipeline.page.write import write_report

__all__ = ["write_report"]
