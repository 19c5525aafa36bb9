"""The foundation: no privilege and no process of its own."""
