"""Presentation of the results: log, tables, the report page, and the summary for programs."""
