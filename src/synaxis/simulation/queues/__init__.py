"""Clusters with queue shards in virtual time: members, producers, the node, a naive model.

Read ``world.py`` first, then ``model.py``.
"""
