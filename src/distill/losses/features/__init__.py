"""Feature-based losses: compare intermediate features of student and teacher."""
