"""The lock service: grants, queues, deadlocks, semaphores, barriers and latches.

Pure and deterministic. Read ``commands.py`` (the nouns) first, then ``machine.py``.
"""
