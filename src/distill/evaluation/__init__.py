"""Is the student good enough, and where does it fail: a finished run evaluated, reported, compared with others."""
