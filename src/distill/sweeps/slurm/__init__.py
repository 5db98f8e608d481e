"""Jobs of a sweep through Slurm."""
