"""What depends on this machine: threads, memory, files, compiled loops. Imports `rules.errors` alone."""
