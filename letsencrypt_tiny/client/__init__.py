"""Speaks ACME; holds no key."""
