"""Settings of training runs, and the programs that make what the package ships."""
