"""What depends on this machine: threads, memory, compiled loops and their cache. Imports nothing of ours but `rules.errors`."""
