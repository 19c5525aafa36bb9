"""Runs as root: server keys, certificates, configuration, state."""
