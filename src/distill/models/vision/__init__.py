"""Image models written here."""
