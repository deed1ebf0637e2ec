"""What a world of caches adds: agents on nodes and in clients, and a watch over all their lines."""
