"""Replicated logs and the replica that binds one to a state machine."""
