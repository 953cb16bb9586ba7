"""The claims of three papers, judged by the stored runs."""
