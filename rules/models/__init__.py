"""Models that were written elsewhere, made usable by any rule: state reset, time looped, layers found.

Imports no other library of spiking networks: their classes are recognised by name. Of this package it imports
`contract`, `errors`, `forward`, `optional`, `spikes` and `synapses`.
"""
