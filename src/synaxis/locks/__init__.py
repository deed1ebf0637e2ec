"""The lock service: grants, queues, deadlocks, semaphores, barriers and latches.

Pure and deterministic. Read ``commands.py`` (the nouns) first, then ``table.py`` (who may have
what), ``granting.py`` (when) and ``machine.py`` (dispatch). ``DESIGN.md`` says why.
"""
