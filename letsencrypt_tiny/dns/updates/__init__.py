"""The ways in which a record gets into a zone."""
