"""Pages in a browser: the studio, the reading room, and the viewer they share."""
