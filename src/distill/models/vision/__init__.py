"""Image models of our own."""
