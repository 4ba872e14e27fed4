"""Models that were written elsewhere: asked before their first step, adapted to any rule, searched for their read-out.

Imports no other library of spiking networks: their classes are recognised by name. Of this package it imports the
contract, `forward` and what lies below.
"""
