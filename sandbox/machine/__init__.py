"""Code that depends on the machine: threads, memory, files, compiled loops. Imports only `rules.errors`."""
