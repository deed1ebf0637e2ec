"""The world of volatile groups: registers in memory, nodes that forget, and eras."""
