"""The whole protocol on two pages: ``client.py`` and ``peer.py``."""
