"""Run many jobs on several processes. Imports only machine: a job brings the code that it runs."""
