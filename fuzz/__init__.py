"""Long campaigns that look for what no example shows: fuzz/README.md says which there are and how each is run."""
