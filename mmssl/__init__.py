"""mmssl: vision-language pre-training on clinical images and reports."""

__version__ = "0.1.0"
