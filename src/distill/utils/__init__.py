"""What every room uses: errors, files, numbers, the machine, processes."""
