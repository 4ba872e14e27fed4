"""Compile Brian2's synaptic equations into a credit rule: what the text says, what a step does, and the rule.

Imports reference.compiler.
"""
