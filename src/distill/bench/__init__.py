"""``python -m distill.bench``: how fast this program is beside a peer and beside a bare loop, on this machine."""
