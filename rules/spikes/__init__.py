"""Spikes, their surrogate derivatives and random bits. Imports the contract and `errors` alone."""
