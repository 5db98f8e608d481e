"""Images: read, decoded, augmented, mixed."""
