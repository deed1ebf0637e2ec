"""The shell of a node: effects in, I/O out."""
