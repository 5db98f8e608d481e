"""Campaigns against the product's own files and processes; see ``docs/reliability.md``."""
