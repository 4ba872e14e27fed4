"""Compile Brian2's equation strings into torch neurons: a grammar checks the text, and a tape of operations runs it.

Imports neurons.
"""
