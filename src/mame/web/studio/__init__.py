"""The studio: generate, paint, order cohorts, assess and read in one page on one's own machine."""
