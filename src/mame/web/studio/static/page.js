// Keys for the buttons of the open tab, and names that screen readers need and Gradio leaves out.
"use strict";
(() => {
  const visible = (selector) => [...document.querySelectorAll(selector)].find((one) => one.offsetParent && !one.disabled);
  const press = (selector) => { const button = visible(selector); button?.click(); return !!button; };
  const writing = (element) => element.closest("input:not([type=range]), textarea, [contenteditable=true]");
  const ALT = { r: "#dice", l: "#more", v: "#vary" };

  document.addEventListener("keydown", (event) => {
    let done = false;
    if (event.ctrlKey || event.metaKey) {
      if (event.key === "Enter") done = press("button.primary");
      else if (event.key.toLowerCase() === "z" && !writing(event.target)) done = press("#undo");
    } else if (event.altKey) {
      const button = ALT[event.key.toLowerCase()];
      done = !!button && press(button);
    } else if (event.key === "Escape") done = press("button.stop");
    if (done) event.preventDefault();
  }, true);

  function name() {
    document.querySelectorAll(".mame-status:not([role])").forEach((one) => one.setAttribute("role", "status"));
    document.querySelectorAll("div.empty[aria-label]:not([role])").forEach((one) => one.setAttribute("role", "img"));
    document.querySelectorAll(".cm-scroller").forEach((one) => { one.tabIndex = 0; });
    document.querySelectorAll("button[aria-label]").forEach((one) => {
      const text = one.innerText.trim().replace(/\s+/g, " "), label = one.getAttribute("aria-label");
      if (text.length > 1 && !label.includes(text)) one.setAttribute("aria-label", `${text} (${label})`);
    });
  }
  let waiting = 0;
  new MutationObserver(() => { waiting ||= setTimeout(() => { waiting = 0; name(); }, 200); })
    .observe(document.documentElement, { childList: true, subtree: true });
})();
