// Keyboard shortcuts of the page; those of the viewer are in canvas.js.
"use strict";
(() => {
  const press = (id) => {
    const found = document.querySelector(`#${id}`);
    if (found && found.offsetParent && !found.disabled) { found.click(); return true; }
    return false;
  };
  document.addEventListener("keydown", (event) => {
    let done = false;
    if (event.altKey && /^[1-5]$/.test(event.key)) {
      const tab = document.querySelectorAll('#tabs button[role="tab"]')[Number(event.key) - 1];
      if (tab) { tab.click(); done = true; }
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) done = press("generate") || press("paint");
    else if (event.key === "Escape") done = press("generate-stop") || press("paint-stop");
    if (done) event.preventDefault();
  });
})();
