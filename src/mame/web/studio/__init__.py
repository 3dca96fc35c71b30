"""The studio: a page on which a radiologist makes mammograms, paints lesions, orders cohorts, reads and assesses."""
