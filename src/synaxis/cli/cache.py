"""``synaxis cache``: the app; the commands live in the ``cache_...`` modules."""

from cyclopts import App

from synaxis.cli import cache_looking, cache_records

__all__ = ["app"]

app = App(name="synaxis cache", help_format="plaintext")

app.command(cache_records.get)
app.command(cache_records.set_value, name="set")
app.command(cache_records.delete, name="del")
app.command(cache_records.incr)
app.command(cache_records.clear)
app.command(cache_looking.ls)
app.command(cache_looking.stats)
app.command(cache_looking.state)
app.command(cache_looking.ring)
