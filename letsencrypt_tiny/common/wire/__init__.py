"""What the processes say to each other: each message is declared once, for both ends."""
