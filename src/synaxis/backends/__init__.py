"""Stores behind the caches: what is loaded from them, written through and written behind.

Read first: ``backing_store.py``, the port; ``redis_store.py`` implements it, ``opening.py`` picks
one by its URL.
"""
