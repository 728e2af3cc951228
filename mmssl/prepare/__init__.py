"""From a source's studies to a store."""
