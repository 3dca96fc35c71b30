// The viewer inside Gradio's page: shows what the server says, and tells it what was drawn.
"use strict";
(() => {
  const STEP = 0.02, MOVE = 0.1; // of all greys, of what is seen; as in the reading room

  function ready() {
    return new Promise((done) => {
      const look = () => (window.MameViewer && window.Bokeh ? done() : setTimeout(look, 40));
      look();
    });
  }

  async function start(element, props, trigger, watch) {
    await ready();
    const holder = element.querySelector(".mame-viewer");
    const item = await (await fetch("viewer/figure.json")).json();
    let shown = { token: "" }, drawn = { boxes: [], paths: [] };
    const viewer = await MameViewer.open(holder, item, (part) =>
      MameViewer.fetchValues(`studio/part/${shown.token}?` + new URLSearchParams(part)));
    const tell = (said) => trigger("select", said);
    viewer.ondraw = (shape) => {
      drawn = { boxes: shape.box ? [shape.box] : [], paths: shape.path ? [shape.path] : [] };
      viewer.draw(drawn);
      tell(shape);
    };
    viewer.onmark = (point) => { if (shown.token) tell({ point: [point.x, point.y] }); };
    const update = async () => {
      const said = JSON.parse(props.value || "{}");
      if (!said.token) return;
      const first = said.width !== shown.width || said.height !== shown.height || said.fresh;
      const kept = { ...viewer.window };
      if (said.token !== shown.token) {
        shown = said;
        if (first) await viewer.show(said);
        else { await viewer.show(said); viewer.setWindow(kept.low, kept.high); }
      }
      drawn = { boxes: said.boxes ?? [], paths: said.paths ?? [] };
      viewer.draw(drawn);
      holder.dataset.shown = said.token;
    };
    watch("value", update);
    await update();
    const tools = element.querySelectorAll("button[data-tool]");
    const use = (tool) => {
      viewer.use(tool);
      tools.forEach((one) => one.setAttribute("aria-pressed", one.dataset.tool === tool));
    };
    const keys = {
      "+": () => viewer.zoom(1.3), "=": () => viewer.zoom(1.3), "-": () => viewer.zoom(1 / 1.3), "0": () => viewer.fit(),
      i: () => viewer.invert(), w: () => viewer.setWindow(shown.low ?? 0, shown.high ?? 65535),
      m: () => use("pan"), b: () => use("box"), f: () => use("lasso"),
      "[": () => viewer.changeWindow(-STEP, 0), "]": () => viewer.changeWindow(STEP, 0),
      "{": () => viewer.changeWindow(0, -2 * STEP), "}": () => viewer.changeWindow(0, 2 * STEP),
      arrowleft: () => viewer.pan(-MOVE, 0), arrowright: () => viewer.pan(MOVE, 0),
      arrowup: () => viewer.pan(0, -MOVE), arrowdown: () => viewer.pan(0, MOVE),
    };
    holder.addEventListener("keydown", (event) => {
      const key = keys[event.key.toLowerCase()];
      if (key && !event.ctrlKey && !event.metaKey) { key(); event.preventDefault(); }
    });
    holder.addEventListener("pointerdown", () => holder.focus({ preventScroll: true }));
    tools.forEach((button) => button.addEventListener("click", () => use(button.dataset.tool)));
    element.querySelectorAll("button[data-do]").forEach((button) =>
      button.addEventListener("click", () => keys[button.dataset.do]()));
    holder.dataset.ready = "yes";
    holder.viewer = viewer; // for tests
  }

  window.MamePainting = { start };
})();
