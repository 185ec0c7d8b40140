"""Combine conv base and head into one model file that needs no part of this package, and verify it."""

from pipeline.export.assemble import assemble_model
from pipeline.export.record import ExportRecord
from pipeline.export.verify import Agreement, verify_model
from pipeline.export.write import export_model

__all__ = ["Agreement", "ExportRecord", "assemble_model", "export_model", "verify_model"]
