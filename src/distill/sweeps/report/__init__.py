"""What a sweep found: a table, results.csv and report.html."""
