"""Losses between features of inner layers."""
