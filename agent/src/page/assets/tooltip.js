// The numbers of the function under the pointer. Names come from whatever runs on the host: they are text, never markup.

import { cpuTime, percent } from "./format.js";

const box = document.getElementById("tooltip");

export function hideTooltip() {
  box.hidden = true;
}

export function showTooltip(graph, node, zoomed, x, y) {
  const frame = graph.frameOf(node);
  const whole = graph.total;
  const rows = [
    ["self", cpuTime(graph.self[node]), percent(graph.self[node], whole)],
    ["total", cpuTime(graph.value[node]), percent(graph.value[node], whole)],
  ];
  if (zoomed > 0) rows.push(["of the zoomed", "", percent(graph.value[node], graph.value[zoomed])]);
  const table = document.createElement("table");
  for (const [head, ...cells] of rows) {
    const row = table.insertRow();
    row.append(element("th", "", head), ...cells.map((cell) => element("td", "", cell)));
  }
  box.replaceChildren(element("div", "name", frame.name), table);
  if (frame.module) box.append(element("div", "where", frame.module));
  if (frame.file) box.append(element("div", "where", frame.line > 0 ? `${frame.file}:${frame.line}` : frame.file));
  box.hidden = false;
  place(x, y);
}

function place(x, y) {
  const { width, height } = box.getBoundingClientRect();
  const left = x + 16 + width > innerWidth ? Math.max(4, x - width - 12) : x + 16;
  const top = y + 18 + height > innerHeight ? Math.max(4, y - height - 12) : y + 18;
  box.style.transform = `translate(${left}px, ${top}px)`;
}

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
