"""The results of a sweep: a table, results.csv and report.html."""
