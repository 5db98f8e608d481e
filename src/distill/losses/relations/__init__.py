"""Relation-based losses: compare relations between samples, or between channels."""
