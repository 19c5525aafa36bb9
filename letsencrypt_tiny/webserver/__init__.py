"""Answers http-01 challenges; holds nothing."""
