"""What people look at: tables on the terminal, the reports of runs and comparisons, single attempts."""
