"""What is known of a store and its heads as one HTML page: `write_report`."""

from pipeline.report.write import write_report

__all__ = ["write_report"]
