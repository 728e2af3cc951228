"""Data on its way in: files, images, reports, the store, batches."""
