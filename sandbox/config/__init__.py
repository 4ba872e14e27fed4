"""What an experiment is, the names in it, and how it is read from YAML. Imports networks, tasks, tracking and rules.

It knows no folder.
"""
