"""Many jobs on several processes. Imports machine alone: a job says itself what it does."""
