"""What is configured and the files it stands in: no network, no HTTP, no event loop of its own."""
