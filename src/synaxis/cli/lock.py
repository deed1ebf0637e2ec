"""``synaxis lock``: the app; the commands live in ``lock_holding.py`` and ``lock_looking.py``."""

from cyclopts import App

from synaxis.cli import lock_holding, lock_looking

__all__ = ["app"]

app = App(name="synaxis lock", help_format="plaintext")

app.command(lock_holding.run)
app.command(lock_holding.acquire)
app.command(lock_holding.release)
app.command(lock_looking.ls)
app.command(lock_looking.info)
app.command(lock_looking.graph)
app.command(lock_looking.force_release)
