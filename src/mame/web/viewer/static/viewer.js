// The viewer: a 16-bit picture of any size, by Bokeh. Left drag moves, the wheel zooms, right drag sets the window.
// The server sends what the screen can show (part), 16 bits deep; window and level are applied here.
"use strict";
(() => {
  const SETTLED_MS = 80; // after the last movement the seen part is fetched sharp
  const MOST = 4096; // of pixels a side in a part

  async function open(element, item, fetchPart) {
    const views = await Bokeh.embed.embed_item(item, element);
    const root = [...(Array.isArray(views) ? views : views.roots ?? [views])][0];
    return new Viewer(element, root.model ?? root, fetchPart);
  }

  class Viewer {
    constructor(element, plot, fetchPart) {
      this.element = element;
      this.plot = plot;
      this.fetchPart = fetchPart; // ({x0, y0, x1, y1, width, height}) -> Promise of Uint16Array
      this.picture = null;
      this.inverted = false;
      this.shown = 0; // counts pictures: an answer that comes late belongs to none
      this.onchange = () => {};
      this.ondraw = () => {};
      this.onmark = () => {};
      this.window = { low: 0, high: 65535 };
      const named = (name) => plot.document.get_model_by_name(name);
      this.mapper = named("mapper");
      this.layers = { whole: named("whole"), detail: named("detail") };
      this.drawn = { boxes: named("boxes"), paths: named("paths"), marks: named("marks") };
      this.tools = { pan: named("pan"), box: named("box"), lasso: named("lasso") };
      for (const range of [plot.x_range, plot.y_range]) range.change.connect(() => this.moved());
      plot.on_event("selectiongeometry", (event) => this.selected(event));
      plot.on_event("tap", (event) => this.onmark(this.inside(event.x, event.y)));
      new ResizeObserver(() => this.resized()).observe(element);
      this.listenToWindow();
    }

    // -- the picture
    async show(picture) { // {width, height, low, high}
      const number = ++this.shown;
      this.picture = picture;
      this.layers.whole.data = empty();
      this.layers.detail.data = empty();
      this.clear();
      this.setWindow(picture.low ?? 0, picture.high ?? 65535);
      this.fit();
      const box = { x0: 0, y0: 0, x1: picture.width, y1: picture.height };
      const whole = await this.load(box, this.scale());
      if (number !== this.shown) return;
      this.layers.whole.data = whole;
    }

    async load(box, scale) {
      const width = Math.min(Math.max(Math.round((box.x1 - box.x0) * scale), 1), MOST);
      const height = Math.min(Math.max(Math.round((box.y1 - box.y0) * scale), 1), MOST);
      const values = await this.fetchPart({ ...box, width, height });
      return column(values, width, height, box);
    }

    scale() { // screen pixels a pixel of the picture
      const size = this.size();
      return size.width / Math.abs(this.plot.x_range.end - this.plot.x_range.start);
    }

    size() {
      const ratio = window.devicePixelRatio || 1;
      return { width: this.element.clientWidth * ratio, height: this.element.clientHeight * ratio };
    }

    fit() {
      if (!this.picture) return;
      const { width, height } = this.picture;
      const size = this.size();
      if (!size.width || !size.height) return;
      const step = Math.max(width / size.width, height / size.height);
      this.look(width / 2, height / 2, step);
      this.fitted = true;
    }

    look(x, y, step) { // centre, and pixels of the picture a screen pixel
      const size = this.size();
      this.quiet = true;
      this.plot.x_range.setv({ start: x - (size.width * step) / 2, end: x + (size.width * step) / 2 });
      this.plot.y_range.setv({ start: y + (size.height * step) / 2, end: y - (size.height * step) / 2 });
      this.quiet = false;
      this.moved();
    }

    zoom(factor) {
      const { x_range: x, y_range: y } = this.plot;
      this.look((x.start + x.end) / 2, (y.start + y.end) / 2, 1 / this.scale() / factor);
      this.fitted = false;
    }

    pan(right, down) { // shares of what is seen
      const { x_range: x, y_range: y } = this.plot;
      const wide = x.end - x.start, tall = y.start - y.end;
      this.look((x.start + x.end) / 2 + right * wide, (y.start + y.end) / 2 + down * tall, 1 / this.scale());
      this.fitted = false;
    }

    resized() {
      if (this.picture && this.fitted) this.fit();
      else if (this.picture) this.zoom(1);
    }

    moved() {
      if (!this.picture || this.quiet) return;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.sharpen(), SETTLED_MS);
    }

    async sharpen() {
      const { width, height } = this.picture;
      const { x_range: x, y_range: y } = this.plot;
      const box = {
        x0: Math.max(Math.floor(x.start), 0), y0: Math.max(Math.floor(y.end), 0),
        x1: Math.min(Math.ceil(x.end), width), y1: Math.min(Math.ceil(y.start), height),
      };
      if (box.x0 >= box.x1 || box.y0 >= box.y1) return;
      if (box.x0 === 0 && box.y0 === 0 && box.x1 === width && box.y1 === height && this.fitted) {
        this.layers.detail.data = empty();
        return;
      }
      const number = this.shown, asked = (this.asked = (this.asked ?? 0) + 1);
      const part = await this.load(box, this.scale());
      if (number === this.shown && asked === this.asked) this.layers.detail.data = part;
    }

    // -- the window
    setWindow(low, high) {
      const least = 8; // values: a window never closes
      this.window = { low, high: Math.max(high, low + least) };
      const { low: a, high: b } = this.window;
      this.mapper.setv({ low: a, high: b });
      this.onchange(this.window);
    }

    changeWindow(level, width) { // shares of 65,535, added
      const { low, high } = this.window;
      const middle = (low + high) / 2 + level * 65535;
      const half = Math.max((high - low) / 2 + (width * 65535) / 2, 128);
      this.setWindow(middle - half, middle + half);
    }

    invert() {
      this.inverted = !this.inverted;
      this.mapper.palette = [...this.mapper.palette].reverse();
      this.onchange(this.window);
    }

    listenToWindow() {
      let from = null;
      const element = this.element;
      element.addEventListener("contextmenu", (event) => event.preventDefault());
      element.addEventListener("pointerdown", (event) => {
        if (event.button !== 2) return;
        from = { x: event.clientX, y: event.clientY };
        element.setPointerCapture(event.pointerId);
        event.stopPropagation();
      }, true);
      element.addEventListener("pointermove", (event) => {
        if (!from) return;
        this.changeWindow((event.clientY - from.y) / 800, (event.clientX - from.x) / 400);
        from = { x: event.clientX, y: event.clientY };
        event.stopPropagation();
      }, true);
      for (const end of ["pointerup", "pointercancel"])
        element.addEventListener(end, () => { from = null; }, true);
    }

    // -- drawing
    use(name) { // pan, box or lasso
      for (const [key, tool] of Object.entries(this.tools)) tool.active = key === name;
    }

    selected(event) {
      if (!event.final || !this.picture) return;
      const shape = event.geometry;
      if (shape.type === "rect") {
        const a = this.inside(shape.x0, shape.y0), b = this.inside(shape.x1, shape.y1);
        const box = [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)].map(Math.round);
        if (box[2] > box[0] && box[3] > box[1]) this.ondraw({ box });
      } else if (shape.type === "poly") {
        const points = [...shape.x].map((x, i) => this.inside(x, shape.y[i]));
        if (points.length > 2) this.ondraw({ path: points.map((p) => [p.x, p.y]) });
      }
    }

    inside(x, y) {
      const { width, height } = this.picture;
      return { x: Math.min(Math.max(x, 0), width), y: Math.min(Math.max(y, 0), height) };
    }

    draw({ boxes = [], paths = [], marks = [] }) {
      this.drawn.boxes.data = {
        left: boxes.map((b) => b[0]), right: boxes.map((b) => b[2]),
        top: boxes.map((b) => b[1]), bottom: boxes.map((b) => b[3]),
      };
      this.drawn.paths.data = { xs: paths.map((p) => p.map((q) => q[0])), ys: paths.map((p) => p.map((q) => q[1])) };
      this.drawn.marks.data = { x: marks.map((m) => m.x), y: marks.map((m) => m.y) };
    }

    clear() { this.draw({}); }
  }

  function empty() { return { image: [], x: [], y: [], dw: [], dh: [] }; }

  function column(values, width, height, box) {
    const image = Bokeh.require("core/util/ndarray").ndarray(values, { dtype: "uint16", shape: [height, width] });
    return { image: [image], x: [box.x0], y: [box.y0], dw: [box.x1 - box.x0], dh: [box.y1 - box.y0] };
  }

  async function fetchValues(url, options) {
    const answer = await fetch(url, options);
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? answer.statusText);
    return new Uint16Array(await answer.arrayBuffer());
  }

  window.MameViewer = { open, fetchValues };
})();
