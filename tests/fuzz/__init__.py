"""Mutated inputs for everything a stranger may hand in: a value comes out, or one line of error, and nothing else."""
