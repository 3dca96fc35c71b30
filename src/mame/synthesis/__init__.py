"""Mammograms on order: one at a time, from the simulator, and the demonstration of both."""
