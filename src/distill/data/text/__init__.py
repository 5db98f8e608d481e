"""Texts: tokenised once, kept as flat arrays, padded into batches of like length."""
