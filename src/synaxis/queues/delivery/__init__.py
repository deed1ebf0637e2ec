"""Who gets which message: the leader's private half of a queue shard.

Nothing here is replicated. A new leader begins with what the replicated half knows (members, what
is finished, what failed) and hears from each attached member what it holds. Until all members have
said so, or are gone, what former leaders may have delivered is held back: see ``flow``.
"""
