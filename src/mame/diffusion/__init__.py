"""The models: opened, sampled, trained."""
