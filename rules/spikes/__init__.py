"""Spikes, their surrogate derivatives and random bits. Imports only the contract and `errors`."""
