"""``python -m benchmarks``: how fast this program is beside a peer and beside a bare loop, on this machine."""
