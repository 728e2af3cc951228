"""Reports as hospitals and data sets hand them over, one file for each format; `source` opens any of them."""
