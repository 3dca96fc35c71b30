// The viewer inside Gradio's page: shows what the server says, and tells it what was drawn.
"use strict";
(() => {
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
    const keys = {
      "+": () => viewer.zoom(1.3), "=": () => viewer.zoom(1.3), "-": () => viewer.zoom(1 / 1.3), "0": () => viewer.fit(),
      i: () => viewer.invert(), w: () => viewer.setWindow(shown.low ?? 0, shown.high ?? 65535),
      m: () => viewer.use("pan"), b: () => viewer.use("box"), f: () => viewer.use("lasso"),
    };
    holder.addEventListener("keydown", (event) => {
      const key = keys[event.key.toLowerCase()];
      if (key && !event.ctrlKey && !event.metaKey) { key(); event.preventDefault(); }
    });
    holder.addEventListener("pointerdown", () => holder.focus({ preventScroll: true }));
    element.querySelectorAll("button[data-tool]").forEach((button) => {
      button.addEventListener("click", () => {
        viewer.use(button.dataset.tool);
        element.querySelectorAll("button[data-tool]").forEach((one) => one.setAttribute("aria-pressed", one === button));
      });
    });
    element.querySelectorAll("button[data-do]").forEach((button) =>
      button.addEventListener("click", () => keys[button.dataset.do]()));
    holder.dataset.ready = "yes";
    holder.viewer = viewer; // for tests
  }

  window.MamePainting = { start };
})();
