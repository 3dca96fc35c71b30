"""The prepared data set: what models are trained on."""
