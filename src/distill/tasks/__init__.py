"""Tasks: what a model predicts, and what is measured."""
