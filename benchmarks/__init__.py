"""How fast Synaxis is, beside what a user would pick instead. One file per question."""
