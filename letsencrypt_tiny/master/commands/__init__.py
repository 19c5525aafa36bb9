"""A room for each word that the administrator types."""
