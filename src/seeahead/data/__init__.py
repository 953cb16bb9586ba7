"""What is asked and learned from: one's own data, public sets, and what the demo is made of, from packages."""
