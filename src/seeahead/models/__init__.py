"""Networks of our own: small ones, for drafters, where the fixed cost of every call counts."""
