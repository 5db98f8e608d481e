"""Losses between the relations of the samples of a batch."""
