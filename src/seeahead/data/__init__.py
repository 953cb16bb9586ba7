"""What is asked and learned from: one's own data, public data sets, texts of packages."""
