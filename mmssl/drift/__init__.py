"""What has moved between versions of a store: `mmssl drift`."""
