"""The HTML report about a store and its heads: `write_report`."""

from pipeline.report.write import write_report

__all__ = ["write_report"]
