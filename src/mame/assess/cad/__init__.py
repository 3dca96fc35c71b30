"""The detector's gain: does a CAD system that also learned from synthetic lesions find more real ones?"""
