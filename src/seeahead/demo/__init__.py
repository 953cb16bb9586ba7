"""The embedded demo model: small trained weights in the package, the language model fetched on first use."""
