"""Synaxis."""
