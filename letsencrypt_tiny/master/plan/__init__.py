"""Decides, and does nothing: no module here imports os, subprocess or socket."""
