"""Who may enter: API keys and TLS."""
