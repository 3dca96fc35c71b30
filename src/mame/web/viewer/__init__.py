"""The viewer of the studio and the reading room: 16-bit pictures of any size in a browser, drawn by Bokeh.

The server sends what the screen can show, 16 bits deep (`pyramid`); window and level, zoom and drawing happen in the
browser (`static/viewer.js`, on Bokeh's figure from `figure`).
"""
