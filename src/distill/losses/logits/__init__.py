"""Response-based losses: compare logits."""
