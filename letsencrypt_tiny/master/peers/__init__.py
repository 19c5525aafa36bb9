"""The child processes, what they write, and the one poll loop that hears them all."""
