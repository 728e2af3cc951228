"""What zero-shot classification and retrieval share: the rows judged, their truth, the answers, the verdict."""
