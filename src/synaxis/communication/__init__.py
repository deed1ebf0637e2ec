"""Sockets between nodes: one link per direction and pair, one frame per loop turn."""
