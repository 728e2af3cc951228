"""One file writes one format of others."""
