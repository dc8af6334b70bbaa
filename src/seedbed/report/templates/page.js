"use strict";
// Read-out of the nearest seed in the charts, by pointer, finger or arrow keys. Without this script the page loses only that.
for (const svg of document.querySelectorAll("svg.curves")) {
  const readout = svg.closest("figure").querySelector(".readout");
  const [x0, x1] = svg.dataset.x.split(" ").map(Number), [y0, y1, log] = svg.dataset.y.split(" ").map(Number);
  const unit = svg.dataset.axis === "step" ? "step " : "";
  const plot = svg.querySelector("svg.plot"), {width: wide, height: tall} = plot.viewBox.baseVal;
  let seeds = null, pinned = false, at = -1;
  const read = () => seeds ??= [...svg.querySelectorAll(".seed")].map(path => {
    const flat = path.getAttribute("d").match(/-?\d+/g).map(Number), points = [[flat[0], flat[1]]];
    for (let i = 2; i + 1 < flat.length; i += 2) {
      const [a, b] = points[points.length - 1];
      points.push([a + flat[i], b + flat[i + 1]]);
    }
    return {path, points, title: path.querySelector("title").textContent};
  });
  const clear = () => {
    for (const {path} of read()) path.classList.remove("on");
    svg.classList.remove("picked");
    readout.textContent = "";
  };
  const show = (seed, point) => {
    clear();
    seed.path.classList.add("on");
    svg.classList.add("picked");
    let where = "";
    if (point) {
      const share = 1 - point[1] / tall, x = x0 + (x1 - x0) * point[0] / wide;
      const y = log ? Math.exp(Math.log(y0) + share * (Math.log(y1) - Math.log(y0))) : y0 + share * (y1 - y0);
      where = ` · here ${y.toPrecision(3)} at ${unit}${Math.round(x)}${unit ? "" : " s"}`;
    }
    readout.textContent = seed.title + where;
  };
  const nearest = event => {
    const matrix = plot.querySelector("g").getScreenCTM().inverse();
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
    let best = null, least = 400 * 400;
    read().forEach((seed, index) => {
      if (seed.path.closest(".off")) return;
      for (const point of seed.points) {
        const d = (point[0] - p.x) ** 2 + 4 * (point[1] - p.y) ** 2;
        if (d < least) { least = d; best = {seed, point, index}; }
      }
    });
    return best;
  };
  svg.addEventListener("pointermove", event => {
    if (pinned) return;
    const found = nearest(event);
    if (found) { at = found.index; show(found.seed, found.point); } else clear();
  });
  svg.addEventListener("pointerleave", () => { if (!pinned) clear(); });
  svg.addEventListener("click", event => {
    const found = nearest(event);
    pinned = Boolean(found) && !(pinned && found.index === at);
    if (found) { at = found.index; show(found.seed, found.point); } else clear();
  });
  svg.addEventListener("keydown", event => {
    const move = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (event.key === "Escape") { pinned = false; clear(); }
    if (!move) return;
    event.preventDefault();
    const count = read().length;
    for (let i = 0; i < count; i++) {
      at = (at + move + count) % count;
      if (!seeds[at].path.closest(".off")) break;
    }
    pinned = true;
    show(seeds[at]);
  });
}
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    for (const run of button.closest("figure").querySelectorAll(".run")) {
      if (run.dataset.run === button.dataset.run) run.classList.toggle("off", !on);
    }
  });
}
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.of).textContent;
    try { await navigator.clipboard.writeText(text); button.textContent = "copied"; } catch { button.textContent = "select and copy it by hand"; }
  });
}
// A page that follows a run loads itself again: it keeps its axis.
for (const input of document.querySelectorAll(".switch")) {
  try {
    if (sessionStorage.getItem("axis") === input.id) input.checked = true;
    input.addEventListener("change", () => sessionStorage.setItem("axis", input.id));
  } catch { /* storage is refused: the axis starts as steps */ }
}
