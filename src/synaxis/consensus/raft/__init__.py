"""Raft as a pure machine: messages and time in, one batch of effects out."""
