"""What the administrator is told."""
