// CPU over the last hour, stacked by owner; where the time shown is chosen.

import { dark, ownerColor, variable } from "./colors.js";
import { clock, cores, count, cpuTime } from "./format.js";
import { change, state } from "./state.js";

const HOUR = 3_600_000;
const AXIS = 18;
// A shorter drag is a click.
const DRAG_PIXELS = 4;
// What a click chooses around it.
const CLICK_MS = 60_000;

const canvas = document.getElementById("timeline");
const reading = document.getElementById("reading");
let timeline = { now_ms: Date.now(), owners: [], points: [] };
let chosen = [0, 0];
let drag = null;

export function showTimeline(data, from, to) {
  timeline = data;
  chosen = [from, to];
  draw();
}

const begin = () => timeline.now_ms - HOUR;
const toX = (ms) => ((ms - begin()) / HOUR) * canvas.clientWidth;
const toMs = (x) => begin() + (x / canvas.clientWidth) * HOUR;

export function draw() {
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const highest = Math.max(0.1, ...timeline.points.map((point) => sum(point.cpu_nanos) / (point.duration_ms * 1e6 || 1)));
  drawAxis(context, width, height);
  drawAreas(context, height - AXIS, highest);
  drawChoice(context, width, height - AXIS);
  context.fillStyle = variable("--dim");
  context.font = `11px ${variable("--sans")}`;
  context.textAlign = "left";
  if (timeline.points.length) context.fillText(`at most ${cores(highest)} cores`, 10, 12);
}

function drawAxis(context, width, height) {
  context.fillStyle = variable("--dim");
  context.strokeStyle = variable("--line");
  context.font = `11px ${variable("--sans")}`;
  context.textAlign = "center";
  const step = width < 700 ? 20 * 60_000 : 10 * 60_000;
  for (let at = Math.ceil(begin() / step) * step; at <= timeline.now_ms; at += step) {
    const x = Math.round(toX(at)) + 0.5;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, height - AXIS);
    context.stroke();
    if (x > 20 && x < width - 20) context.fillText(clock(at, false), x, height - 5);
  }
  context.beginPath();
  context.moveTo(0, height - AXIS + 0.5);
  context.lineTo(width, height - AXIS + 0.5);
  context.stroke();
}

function drawAreas(context, height, highest) {
  const top = 16;
  const layers = timeline.owners.length + 1;
  const { points } = timeline;
  const base = new Float64Array(points.length);
  for (let layer = 0; layer < layers; layer++) {
    context.fillStyle = ownerColor(layer === layers - 1 ? Infinity : layer);
    for (let i = 0; i < points.length; i++) {
      const point = points[i];
      const share = (point.cpu_nanos[layer] ?? 0) / (point.duration_ms * 1e6 || 1) / highest;
      const rise = share * (height - top);
      // On whole pixels: no seams between neighbours.
      const x = snap(toX(point.start_ms));
      const wide = Math.max(1, snap(toX(point.start_ms + point.duration_ms)) - x);
      context.fillRect(x, height - base[i] - rise, wide, rise);
      base[i] += rise;
    }
  }
}

function drawChoice(context, width, height) {
  const [from, to] = drag ? [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)] : chosen;
  const [left, right] = [Math.max(0, toX(from)), Math.min(width, toX(to))];
  context.fillStyle = dark() ? "#0f0e0dab" : "#f4f3f1b8";
  context.fillRect(0, 0, left, height);
  context.fillRect(right, 0, width - right, height);
  context.fillStyle = variable("--accent");
  context.fillRect(Math.max(0, left - 1), 0, 2, height);
  context.fillRect(Math.min(width - 2, right - 1), 0, 2, height);
}

function snap(x) {
  const scale = devicePixelRatio || 1;
  return Math.round(x * scale) / scale;
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

function read(ms) {
  const point = timeline.points.find((point) => ms >= point.start_ms && ms < point.start_ms + point.duration_ms);
  if (!point) {
    reading.textContent = `${clock(ms)} · nothing recorded`;
    return;
  }
  const used = sum(point.cpu_nanos);
  const largest = point.cpu_nanos.slice(0, -1).reduce((best, value, i, all) => (value > all[best] ? i : best), 0);
  const parts = [clock(point.start_ms), `${cores(used / (point.duration_ms * 1e6 || 1))} cores`, `${count(point.samples)} samples`];
  if (point.lost) parts.push(`${count(point.lost)} lost`);
  if (timeline.owners[largest]) parts.push(`most: ${timeline.owners[largest].name} ${cpuTime(point.cpu_nanos[largest])}`);
  reading.textContent = parts.join(" · ");
}

// Whole intervals: half of one is not in the store.
function choose(from, to) {
  const inside = timeline.points.filter((point) => point.start_ms + point.duration_ms > from && point.start_ms < to);
  const last = inside.at(-1);
  const range = last ? [inside[0].start_ms, last.start_ms + last.duration_ms] : [from, to];
  change({ live: 0, from: Math.round(range[0]), to: Math.round(range[1]), zoom: "" });
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  drag = { x: event.offsetX, from: toMs(event.offsetX), to: toMs(event.offsetX) };
});
canvas.addEventListener("pointermove", (event) => {
  read(toMs(event.offsetX));
  if (!drag) return;
  drag.to = toMs(Math.min(canvas.clientWidth, Math.max(0, event.offsetX)));
  draw();
});
canvas.addEventListener("pointerup", (event) => {
  if (!drag) return;
  const { x, from, to } = drag;
  drag = null;
  const clicked = Math.abs(event.offsetX - x) < DRAG_PIXELS;
  if (clicked) choose(from - CLICK_MS / 2, from + CLICK_MS / 2);
  else choose(Math.min(from, to), Math.max(from, to));
});
canvas.addEventListener("pointercancel", () => {
  drag = null;
  draw();
});
canvas.addEventListener("pointerleave", () => {
  reading.textContent = "";
});
canvas.addEventListener("keydown", (event) => {
  const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!way) return;
  event.preventDefault();
  const length = chosen[1] - chosen[0];
  const from = Math.max(begin(), Math.min(timeline.now_ms - length, chosen[0] + (way * length) / 2));
  // Not snapped outward: it would grow with every step.
  change({ live: 0, from: Math.round(from), to: Math.round(from + length), zoom: "" });
});
new ResizeObserver(draw).observe(canvas);
