"""The evidence: whether synthetic mammograms are good enough to use. Studies and statistics; no web, no printing."""
