"""MAM-E: mammograms on order."""
