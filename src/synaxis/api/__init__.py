"""What a node shows to the outside: the client protocol, health, metrics, cluster facts."""
