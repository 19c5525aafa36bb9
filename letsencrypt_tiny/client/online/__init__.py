"""A name, looked at as a CA would look at it: what ``check --online`` has the client find out."""
