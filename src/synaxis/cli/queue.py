"""``synaxis queue``: the app; the commands live in the ``queue_...`` modules."""

from cyclopts import App

from synaxis.cli import queue_consuming, queue_publishing, queue_topics

__all__ = ["app"]

app = App(name="synaxis queue", help_format="plaintext")

app.command(queue_topics.create)
app.command(queue_topics.edit)
app.command(queue_topics.ls)
app.command(queue_topics.info)
app.command(queue_publishing.pub)
app.command(queue_consuming.sub)
app.command(queue_consuming.next_message, name="next")
app.command(queue_consuming.peek)
app.command(queue_topics.pause)
app.command(queue_topics.resume)
app.command(queue_topics.purge)
app.command(queue_topics.rm)
