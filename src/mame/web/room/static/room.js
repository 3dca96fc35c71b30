// The reading room's page: shows the picture that is due, takes the answer, and goes on once it is kept.
"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const AGAIN_MS = 2000, HERE_MS = 6000;
  const WINDOW = { low: 0, high: 65535 };
  let token = takeToken();
  let seat = sessionStorage.getItem("mame-seat") ?? "";
  let state = null, viewers = [], chosen = null, mark = null, began = 0, busy = false;

  function takeToken() { // the part behind # never travels to a server, and goes from the address line
    if (location.hash.length > 1) {
      const fresh = decodeURIComponent(location.hash.slice(1));
      if (fresh !== sessionStorage.getItem("mame-token")) sessionStorage.removeItem("mame-seat");
      sessionStorage.setItem("mame-token", fresh);
      history.replaceState(null, "", location.pathname);
    }
    return sessionStorage.getItem("mame-token") ?? "";
  }

  const headers = () => ({ Authorization: `Bearer ${token}`, "X-Seat": seat, "Content-Type": "application/json" });

  async function call(path, options = {}) { // goes on trying while the server can't be reached
    for (;;) {
      let answer;
      try {
        answer = await fetch(path, { ...options, headers: headers() });
      } catch {
        say("The server can't be reached. Nothing is lost; trying again…");
        await new Promise((done) => setTimeout(done, AGAIN_MS));
        continue;
      }
      if (answer.ok) { say(""); return answer.json(); }
      const error = new Error((await answer.json().catch(() => ({}))).error ?? answer.statusText);
      error.status = answer.status;
      throw error;
    }
  }

  function say(text, ...buttons) {
    const place = byId("message");
    place.replaceChildren(text, ...buttons.map(([label, action]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.style.marginLeft = "1rem";
      button.addEventListener("click", action);
      return button;
    }));
    place.hidden = !text;
  }

  async function join(instead = false) {
    try {
      ({ seat } = await call(`api/join?instead=${instead}`, { method: "POST" }));
      sessionStorage.setItem("mame-seat", seat);
      await refresh();
    } catch (error) { trouble(error); }
  }

  async function refresh() {
    try { await present(await call("api/state")); } catch (error) { trouble(error); }
  }

  function trouble(error) {
    if (error.status === 423) {
      hideCase();
      say("This study is open in another window. Read there, or", ["read here instead", () => join(true)]);
    } else if (error.status === 401) {
      hideCase();
      say("This link is not one of the study's. Ask whoever runs the study for yours.");
    } else say(`${error.message}. Your answer is not kept yet.`, ["Try again", () => (chosen ? answer() : refresh())]);
  }

  function hideCase() {
    byId("controls").hidden = true;
    byId("pictures").replaceChildren();
    viewers = [];
  }

  async function present(next) {
    state = next;
    chosen = mark = null;
    byId("question").textContent = state.question;
    const bar = byId("progress");
    bar.setAttribute("aria-valuemax", state.total);
    bar.setAttribute("aria-valuenow", state.done);
    bar.querySelector("span").style.width = `${(100 * state.done) / Math.max(state.total, 1)}%`;
    bar.querySelector("output").textContent = `${state.done} of ${state.total}`;
    if (!state.case) {
      hideCase();
      say("That was the last one. All your answers are kept. Thank you; you can close this window.");
      document.body.dataset.state = "finished";
      return;
    }
    byId("controls").hidden = false;
    byId("markkeys").hidden = state.kind !== "mark";
    if (viewers.length !== state.pictures.length) await makeViewers();
    showAnswers();
    await Promise.all(viewers.map((viewer, i) => viewer.show({ ...state.pictures[i], ...WINDOW })));
    began = performance.now();
    document.body.dataset.state = state.case;
  }

  async function makeViewers() {
    const place = byId("pictures");
    place.replaceChildren();
    viewers = [];
    for (const { place: number } of state.pictures) {
      const figure = document.createElement("figure");
      const element = document.createElement("div");
      element.className = "mame-viewer";
      element.tabIndex = 0;
      element.setAttribute("role", "img");
      element.setAttribute("aria-label", state.pictures.length > 1 ? `Mammogram on the ${["left", "right"][number]}` : "Mammogram");
      figure.append(element);
      if (state.pictures.length > 1) {
        const caption = document.createElement("figcaption");
        caption.textContent = ["left", "right"][number];
        figure.append(caption);
      }
      place.append(figure);
      const item = await (await fetch("viewer/figure.json")).json();
      const part = (box) => MameViewer.fetchValues(
        `api/part/${state.case}/${number}?${new URLSearchParams(box)}`, { headers: headers() });
      const viewer = await MameViewer.open(element, item, part);
      viewer.onchange = ({ low, high }) => { // one window for all
        byId("level").value = (low + high) / 2;
        byId("width").value = high - low;
        for (const other of viewers)
          if (other !== viewer && (other.window.low !== low || other.window.high !== high)) other.setWindow(low, high);
      };
      viewer.onmark = (at) => {
        if (state.kind !== "mark") return;
        mark = { x: at.x / viewer.picture.width, y: at.y / viewer.picture.height };
        viewer.draw({ marks: [at] });
      };
      viewers.push(viewer);
    }
  }

  function showAnswers() {
    const buttons = state.answers.map((label, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      const key = document.createElement("kbd");
      key.textContent = i + 1;
      button.append(key, label);
      button.addEventListener("click", () => choose(i + 1));
      return button;
    });
    const confirm = document.createElement("button");
    confirm.type = "button";
    confirm.id = "confirm";
    confirm.disabled = true;
    confirm.textContent = "Confirm";
    confirm.addEventListener("click", answer);
    byId("answers").replaceChildren(...buttons, confirm);
  }

  function choose(value) {
    if (busy || !state?.case || value > state.answers.length) return;
    chosen = value;
    [...byId("answers").querySelectorAll("button[aria-pressed]")].forEach((button, i) =>
      button.setAttribute("aria-pressed", String(i + 1 === value)));
    byId("confirm").disabled = false;
  }

  async function answer() {
    if (busy || !chosen || !state?.case) return;
    busy = true;
    const seconds = Math.min((performance.now() - began) / 1000, 86399);
    const said = { case: state.case, value: chosen, seconds, ...(mark ?? {}) };
    document.body.dataset.state = "saving";
    try {
      await present(await call("api/answer", { method: "POST", body: JSON.stringify(said) }));
    } catch (error) {
      // an answer that was kept although the line broke: the server has gone on, and so does the page
      const now = await call("api/state").catch(() => null);
      if (now && now.case !== said.case) await present(now);
      else { document.body.dataset.state = state.case; trouble(error); }
    } finally { busy = false; }
  }

  const VIEW = {
    invert: () => viewers.forEach((v) => v.invert()),
    fit: () => viewers.forEach((v) => v.fit()),
    real: () => viewers.forEach((v) => v.zoom(1 / v.scale())),
    reset: () => viewers.forEach((v) => v.setWindow(WINDOW.low, WINDOW.high)),
  };
  const STEP = 0.02, MOVE = 0.1;
  const KEYS = {
    i: VIEW.invert, f: VIEW.fit, r: VIEW.real, w: VIEW.reset, Enter: () => answer(),
    "+": () => viewers.forEach((v) => v.zoom(1.25)), "=": () => viewers.forEach((v) => v.zoom(1.25)),
    "-": () => viewers.forEach((v) => v.zoom(0.8)),
    "[": () => viewers[0]?.changeWindow(-STEP, 0), "]": () => viewers[0]?.changeWindow(STEP, 0),
    "{": () => viewers[0]?.changeWindow(0, -2 * STEP), "}": () => viewers[0]?.changeWindow(0, 2 * STEP),
    ArrowLeft: () => viewers.forEach((v) => v.pan(-MOVE, 0)), ArrowRight: () => viewers.forEach((v) => v.pan(MOVE, 0)),
    ArrowUp: () => viewers.forEach((v) => v.pan(0, -MOVE)), ArrowDown: () => viewers.forEach((v) => v.pan(0, MOVE)),
    Backspace: () => { mark = null; viewers.forEach((v) => v.clear()); },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !viewers.length) return;
    if (event.target instanceof HTMLInputElement) return;
    if (event.target instanceof HTMLButtonElement && (event.key === "Enter" || event.key === " ")) return;
    if (/^[1-9]$/.test(event.key)) choose(Number(event.key));
    else if (KEYS[event.key]) KEYS[event.key]();
    else return;
    event.preventDefault();
  });
  for (const button of document.querySelectorAll("[data-view]"))
    button.addEventListener("click", () => VIEW[button.dataset.view]());
  for (const id of ["level", "width"])
    byId(id).addEventListener("input", () => {
      const level = Number(byId("level").value), width = Number(byId("width").value);
      viewers[0]?.setWindow(level - width / 2, level + width / 2);
    });
  setInterval(() => { // keeps the seat while the window is open
    if (seat && state?.case && !busy) fetch("api/state", { headers: headers() }).then((answer) => {
      if (answer.status === 423) trouble({ status: 423 });
    }).catch(() => {});
  }, HERE_MS);
  addEventListener("pagehide", () => { fetch("api/leave", { method: "POST", headers: headers(), keepalive: true }); });

  if (!token) say("Open the link that you were given: it carries your key.");
  else await join();
})();
