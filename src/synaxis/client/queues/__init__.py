"""Queues for the user's process: publishing in batches, consuming by credit.

Read first: ``topic.py`` (the facade of one topic), ``publisher.py`` (how single publishes become
batches), ``tenure.py`` (what a member holds in one shard, and until when), ``consumer.py`` (how
messages reach the user).

Invariants:
    * A batch is published under one (producer, sequence) for its whole life, whatever breaks.
    * Of one producer and partition at most one batch is on its way: order needs no luck.
    * A message that was delivered is buffered, handed out, being settled, or released: never
      forgotten. What is held is told to each new leader.
    * A message whose membership has ended cannot be settled any more.

Sources: ``queues/DESIGN.md``; KIP-848 and KIP-932 (members, acquisition; facts only).
"""
