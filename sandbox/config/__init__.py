"""What an experiment is, the names in it, and how it is read from YAML. Knows no folder."""
