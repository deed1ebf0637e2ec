"""The queue service: partitioned topics, consumer groups, dead letters. See ``DESIGN.md``."""
