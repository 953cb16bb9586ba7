"""What this repository does with its own measurements: documents, verdicts on papers' claims, studies."""
