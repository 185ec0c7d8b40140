"""Conv base and head as one model that needs nothing of this package, and whether it says the same."""

from pipeline.export.assemble import assemble_model
from pipeline.export.record import ExportRecord
from pipeline.export.verify import Agreement, verify_model
from pipeline.export.write import export_model

__all__ = ["Agreement", "ExportRecord", "assemble_model", "export_model", "verify_model"]
