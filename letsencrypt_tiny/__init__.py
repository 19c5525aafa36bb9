"""letsencrypt-tiny: an ACME client written with process isolation in mind."""

__version__ = "1.1"
