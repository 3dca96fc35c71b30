"""Bokeh's figure for a picture, as the browser gets it; `static/viewer.js` fills it and listens to it by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bokeh.embed import json_item
from bokeh.models import (
    BoxSelectTool,
    ColumnDataSource,
    LassoSelectTool,
    LinearColorMapper,
    PanTool,
    Range1d,
    WheelZoomTool,
)
from bokeh.palettes import Greys256
from bokeh.plotting import figure
from bokeh.settings import settings

DEEPEST = 65535
MARK_COLOUR = "#ffb347"
STATIC = Path(__file__).parent / "static"


def bokeh_script() -> Path:
    """The folder of Bokeh's own scripts, inside its package: nothing is fetched from elsewhere."""
    return Path(settings.bokehjs_path()) / "js"


def viewer_figure() -> dict[str, Any]:
    """A figure with nothing in it yet: two layers of picture (whole, and what is looked at), marks and drawings.

    Its axes are pixels of the picture, x to the right, y down.
    """
    plot = figure(
        name="plot", x_range=Range1d(start=0, end=1), y_range=Range1d(start=1, end=0),
        sizing_mode="stretch_both", toolbar_location=None,
        match_aspect=True, background_fill_color="black", border_fill_color="black", outline_line_color=None,
        min_border=0, tools=[],
    )  # fmt: skip
    plot.axis.visible = False
    plot.grid.visible = False
    mapper = LinearColorMapper(name="mapper", palette=Greys256, low=0, high=DEEPEST)
    place: dict[str, Any] = {"image": "image", "x": "x", "y": "y", "dw": "dw", "dh": "dh", "color_mapper": mapper}
    for layer in ("whole", "detail"):
        source = ColumnDataSource(name=layer, data={"image": [], "x": [], "y": [], "dw": [], "dh": []})
        plot.image(**place, source=source, level="image")
    boxes = ColumnDataSource(name="boxes", data={"left": [], "right": [], "top": [], "bottom": []})
    outlines: dict[str, Any] = {"line_color": MARK_COLOUR, "line_width": 2, "fill_alpha": 0.0}
    plot.quad(left="left", right="right", top="top", bottom="bottom", source=boxes, **outlines)
    paths = ColumnDataSource(name="paths", data={"xs": [], "ys": []})
    plot.patches(xs="xs", ys="ys", source=paths, **outlines)
    marks = ColumnDataSource(name="marks", data={"x": [], "y": []})
    plot.scatter(x="x", y="y", source=marks, size=22, marker="circle_cross", **outlines)
    pan, wheel = PanTool(name="pan"), WheelZoomTool(name="wheel", maintain_focus=False)
    box, lasso = BoxSelectTool(name="box", renderers=[]), LassoSelectTool(name="lasso", renderers=[], continuous=False)
    plot.add_tools(pan, wheel, box, lasso)
    plot.toolbar.active_drag = pan
    plot.toolbar.active_scroll = wheel
    return dict(json_item(plot))
