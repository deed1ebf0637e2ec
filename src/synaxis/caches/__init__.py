"""The coherent cache: replicated records, a directory at each key's home, and its agents."""
