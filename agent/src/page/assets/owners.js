// The list of owners with their shares.

import { ownerColor } from "./colors.js";
import { cpuTime, percent } from "./format.js";
import { change, state } from "./state.js";
import { element } from "./tooltip.js";

const list = document.getElementById("owners");
const MAX_SHOWN = 200;

// `places` says which colour an owner has in the timeline.
export function showOwners(owners, places) {
  const total = owners.reduce((sum, owner) => sum + owner.cpu_nanos, 0);
  const focused = document.activeElement?.closest?.("#owners button")?.dataset.owner;
  const items = [item("", "All owners", `${owners.length} with CPU time`, total, total, "var(--dim)")];
  for (const owner of owners.slice(0, MAX_SHOWN)) {
    const color = ownerColor(places.get(owner.id) ?? Infinity);
    items.push(item(owner.id, owner.labels.service_name, detail(owner.labels), owner.cpu_nanos, total, color));
  }
  if (state.owner && !owners.some((owner) => owner.id === state.owner)) {
    items.push(item(state.owner, "(owner chosen)", "no CPU time in the time shown", 0, total, "var(--dim)"));
  }
  if (owners.length > MAX_SHOWN) {
    items.push(element("li", "detail", `and ${owners.length - MAX_SHOWN} more with less`));
  }
  list.replaceChildren(...items);
  if (focused !== undefined) list.querySelector(`[data-owner="${focused}"]`)?.focus();
}

function item(id, name, more, value, total, color) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.owner = id;
  button.setAttribute("aria-pressed", String(state.owner === id));
  button.title = [name, more, cpuTime(value)].filter(Boolean).join("\n");
  const swatch = element("span", "swatch", "");
  swatch.style.background = color;
  const fill = element("div", "fill", "");
  fill.style.background = color;
  fill.style.width = `${total > 0 ? (100 * value) / total : 0}%`;
  const track = element("div", "track", "");
  track.append(fill);
  button.append(swatch, element("span", "name", name), element("span", "share", percent(value, total)));
  if (more) button.append(element("span", "detail", more));
  button.append(track);
  button.addEventListener("click", () => change({ owner: id, zoom: "" }));
  const line = document.createElement("li");
  line.append(button);
  return line;
}

function detail(labels) {
  const parts = [];
  if (labels.namespace || labels.pod) parts.push([labels.namespace, labels.pod].filter(Boolean).join("/"));
  if (labels.container && labels.container !== labels.service_name) parts.push(labels.container);
  if (labels.container_id) parts.push(labels.container_id.slice(0, 12));
  if (labels.unit) parts.push(labels.unit);
  return parts.join(" · ");
}
