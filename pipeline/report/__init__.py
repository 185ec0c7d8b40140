"""HTML pages: the report about a store and its heads, and the comparison of conv bases."""

from pipeline.report.comparison import write_comparison
from pipeline.report.write import write_report

__all__ = ["write_comparison", "write_report"]
