"""What lies on disk, and who could have changed it."""
