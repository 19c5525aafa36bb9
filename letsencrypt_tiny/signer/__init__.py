"""Holds the account key and nothing else."""
