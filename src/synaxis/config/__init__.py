"""Settings: the only package that reads the environment, ``.env`` and configuration files.

Every setting is one name in three spellings: the flag ``--election-timeout-ms-min``, the variable
``SYNAXIS_ELECTION_TIMEOUT_MS_MIN`` and the TOML key ``election_timeout_ms_min``. Precedence:
flag, environment, ``.env``, the TOML file (``--config``, ``SYNAXIS_CONFIG``), default.

Read first: ``settings.py`` (the nouns), then ``load.py`` (where values come from) and
``checks.py`` (what must agree with what).
"""

from synaxis.config.flags import parse_flags
from synaxis.config.load import load_settings
from synaxis.config.settings import Settings

__all__ = ["Settings", "load_settings", "parse_flags"]
