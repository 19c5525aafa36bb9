"""What a process gives up for good, before it looks at what others send."""
