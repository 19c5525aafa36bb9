"""What other clients have, and how it becomes ours: a reader for each, one model, one writer."""
