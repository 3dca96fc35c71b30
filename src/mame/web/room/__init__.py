"""The reading room: a page where readers of a study see one picture after another and grade it."""
