"""The attribute reader: a small network that tells from a picture what a prompt could have asked for."""
