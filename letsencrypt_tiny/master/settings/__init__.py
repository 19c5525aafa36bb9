"""Configuration files -> checked values; a setting is a row of a table."""
