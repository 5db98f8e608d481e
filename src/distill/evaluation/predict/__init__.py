"""Predictions for files of a user's: what they name, what a run's student says of it, and writing that down."""
