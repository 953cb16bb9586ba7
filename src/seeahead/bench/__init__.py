"""Methods side by side: the same questions to each in turn, figures from their records, one page to look at."""
