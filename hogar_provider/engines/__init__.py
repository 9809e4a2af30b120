"""What graphs run on: a file an engine."""
