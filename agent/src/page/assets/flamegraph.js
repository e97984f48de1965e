// Draws a Graph on a canvas of the size of what is visible, however deep it is, and moves around in it.

import { KIND, dark, frameColor, variable } from "./colors.js";
import { hideTooltip, showTooltip } from "./tooltip.js";

const ROW = 20;
const LABEL_FROM = 28; // pixels: a narrower one has no room for a name
const NARROWEST = 0.25; // pixels: narrower ones are left out with all below them
const ZOOM_MS = 180;

const canvas = document.getElementById("flamegraph");
const scroll = document.getElementById("scroll");
const spacer = document.getElementById("spacer");

export class FlameView {
  // onZoom(node), onFocus(node or -1)
  constructor(onZoom, onFocus) {
    this.onZoom = onZoom;
    this.onFocus = onFocus;
    this.graph = null;
    this.zoomed = 0;
    this.pointer = null;
    this.hovered = -1;
    this.focused = -1;
    this.matches = null;
    this.flame = false;
    this.view = { from: 0, to: 1 };
    this.listen();
  }

  show(graph) {
    const focused = this.focused > 0 && this.graph ? this.graph.key(this.focused) : "";
    this.graph = graph;
    this.hovered = -1;
    this.focused = focused ? graph.find(focused) || -1 : -1;
    this.colors = null;
  }

  // What lies under a pointer that has not moved while the graph did.
  hoverAgain() {
    if (this.pointer) this.hover(this.nodeAt(this.pointer), this.pointer);
    else hideTooltip();
  }

  zoom(node, animate) {
    this.zoomed = node;
    const target = { from: this.graph.start[node], to: this.graph.start[node] + this.graph.value[node] };
    cancelAnimationFrame(this.frame);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!animate || still) {
      this.view = target;
      this.resize();
      return;
    }
    const [from, begin] = [this.view, performance.now()];
    const step = (now) => {
      const part = Math.min(1, Math.max(0, (now - begin) / ZOOM_MS));
      const eased = 1 - (1 - part) ** 3;
      this.view = { from: from.from + (target.from - from.from) * eased, to: from.to + (target.to - from.to) * eased };
      this.draw();
      if (part < 1) this.frame = requestAnimationFrame(step);
      else this.hoverAgain();
    };
    this.resize();
    this.frame = requestAnimationFrame(step);
  }

  setMatches(frames) {
    this.matches = frames;
    this.draw();
  }

  setFlame(flame) {
    this.flame = flame;
    this.resize();
    scroll.scrollTop = flame ? scroll.scrollHeight : 0;
  }

  // Rows that the zoomed part needs.
  rows() {
    const { graph, zoomed } = this;
    const narrowest = (NARROWEST * graph.value[zoomed]) / Math.max(1, scroll.clientWidth);
    let deepest = 0;
    for (let node = zoomed; node < graph.end[zoomed]; ) {
      if (graph.value[node] < narrowest) {
        node = graph.end[node];
        continue;
      }
      deepest = Math.max(deepest, graph.depth[node]);
      node++;
    }
    return deepest + 1;
  }

  resize() {
    if (!this.graph) return;
    this.height = Math.max(this.rows() * ROW + 4, scroll.clientHeight);
    spacer.style.height = `${this.height}px`;
    const scale = devicePixelRatio || 1;
    const [width, height] = [scroll.clientWidth, scroll.clientHeight];
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    this.draw();
  }

  top(depth) {
    const y = this.flame ? this.height - (depth + 1) * ROW : depth * ROW;
    return y - scroll.scrollTop;
  }

  draw() {
    const { graph } = this;
    if (!graph || !graph.size) return;
    const scale = devicePixelRatio || 1;
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const [width, height] = [scroll.clientWidth, scroll.clientHeight];
    context.clearRect(0, 0, width, height);
    this.prepare(context);
    const perPixel = width / Math.max(1, this.view.to - this.view.from);
    // Of nodes that share a pixel, the first: a screen has fewer pixels than a large graph has nodes.
    const painted = new Int32Array(graph.maxDepth + 1).fill(-1);
    for (let node = 0; node < graph.size; ) {
      let left = (graph.start[node] - this.view.from) * perPixel;
      let wide = graph.value[node] * perPixel;
      const narrow = wide < 1;
      if (wide < NARROWEST || left >= width || left + wide <= 0 || (narrow && painted[graph.depth[node]] === Math.floor(left))) {
        node = graph.end[node];
        continue;
      }
      if (narrow) {
        left = Math.floor(left);
        wide = 1;
        painted[graph.depth[node]] = left;
      }
      const y = this.top(graph.depth[node]);
      if (y > -ROW && y < height) {
        const from = Math.max(0, left);
        this.drawNode(context, node, from, y, Math.min(width, left + wide) - from);
      }
      node++;
    }
  }

  prepare(context) {
    const isDark = dark();
    if (this.colors && this.isDark === isDark) return;
    this.isDark = isDark;
    this.colors = this.graph.frames.map((frame) => frameColor(frame.kind, frame.name, frame.module, isDark));
    this.font = `11.5px ${variable("--mono")}`;
    context.font = this.font;
    this.letter = context.measureText("m").width;
    this.text = variable("--frame-text");
    this.plain = variable("--text");
    this.dim = variable("--dim");
    this.focus = variable("--focus");
    this.accent = variable("--accent");
    this.outcome = variable("--outcome");
    this.stripes = context.createPattern(stripes(this.outcome, variable("--outcome-stripe")), "repeat");
  }

  drawNode(context, node, x, y, width) {
    const { graph } = this;
    const frame = graph.frameOf(node);
    const fill = this.colors[graph.frame[node]];
    const matched = this.matches?.[graph.frame[node]];
    const above = graph.depth[node] < graph.depth[this.zoomed];
    const gap = width > 3 ? 1 : 0;
    context.globalAlpha = this.matches && !matched ? 0.25 : above ? 0.6 : 1;
    context.fillStyle = node === 0 ? this.outcome : (fill ?? (frame.kind === KIND.OUTCOME ? this.stripes : this.outcome));
    context.fillRect(x, y, width - gap, ROW - 1);
    if (frame.kind === KIND.KERNEL && width > 6) {
      context.fillStyle = "#2f5c9c";
      context.fillRect(x, y, 3, ROW - 1);
    }
    if (matched && width > 1.5) {
      context.fillStyle = this.accent;
      context.fillRect(x, y + ROW - 4, width - gap, 3);
    }
    context.globalAlpha = 1;
    if (width >= LABEL_FROM) {
      const onColor = fill && node > 0 && !above;
      const faded = this.matches && !matched;
      this.drawLabel(context, frame, faded ? this.dim : onColor ? this.text : this.plain, x, y, width);
    }
    if ((node === this.hovered || node === this.focused) && width > 1) {
      context.strokeStyle = node === this.focused ? this.focus : this.plain;
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 1, Math.max(1, width - gap - 2), ROW - 3);
    }
  }

  drawLabel(context, frame, color, x, y, width) {
    const letters = Math.floor((width - 10) / this.letter);
    if (letters < 2) return;
    const { name } = frame;
    const label = name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
    context.font = this.font;
    context.fillStyle = color;
    context.textBaseline = "middle";
    // Letters of other scripts are wider than assumed; given a width, the canvas condenses them.
    context.fillText(label, x + 6, y + ROW / 2, width - 8);
  }

  nodeAt(event) {
    const { graph } = this;
    if (!graph?.size || !graph.total) return -1;
    const box = canvas.getBoundingClientRect();
    const y = event.clientY - box.top + scroll.scrollTop;
    const depth = Math.floor((this.flame ? this.height - y : y) / ROW);
    const value = this.view.from + ((event.clientX - box.left) / box.width) * (this.view.to - this.view.from);
    return depth < 0 ? -1 : graph.at(value, depth);
  }

  hover(node, event) {
    if (node !== this.hovered) {
      this.hovered = node;
      this.draw();
    }
    if (node < 0) hideTooltip();
    else showTooltip(this.graph, node, this.zoomed, event.clientX, event.clientY);
    canvas.style.cursor = node < 0 ? "default" : "pointer";
  }

  setFocus(node) {
    this.focused = node;
    if (node >= 0) {
      const y = this.top(this.graph.depth[node]);
      if (y < 0) scroll.scrollTop += y;
      else if (y + ROW > scroll.clientHeight) scroll.scrollTop += y + ROW - scroll.clientHeight;
    }
    this.draw();
    this.onFocus(node);
  }

  move(key) {
    const { graph } = this;
    const at = this.focused;
    if (at < 0) return this.setFocus(this.zoomed);
    const down = this.flame ? "ArrowUp" : "ArrowDown";
    if (key === "ArrowUp" || key === "ArrowDown") {
      if (key !== down) return this.setFocus(graph.parent[at]);
      const largest = [...graph.children(at)].reduce((best, child) => (best < 0 || graph.value[child] > graph.value[best] ? child : best), -1);
      return largest < 0 ? undefined : this.setFocus(largest);
    }
    if (at === 0) return undefined;
    const siblings = [...graph.children(graph.parent[at])];
    const next = siblings[siblings.indexOf(at) + (key === "ArrowRight" ? 1 : -1)];
    return next === undefined ? undefined : this.setFocus(next);
  }

  listen() {
    canvas.addEventListener("pointermove", (event) => {
      this.pointer = event;
      this.hoverAgain();
    });
    canvas.addEventListener("pointerleave", (event) => {
      this.pointer = null;
      this.hover(-1, event);
    });
    canvas.addEventListener("click", (event) => {
      const node = this.nodeAt(event);
      if (node < 0) return;
      this.setFocus(node);
      this.onZoom(node);
    });
    canvas.addEventListener("keydown", (event) => {
      if (!this.graph?.total) return;
      if (event.key.startsWith("Arrow")) this.move(event.key);
      else if (event.key === "Enter" && this.focused >= 0) this.onZoom(this.focused);
      else return;
      event.preventDefault();
    });
    canvas.addEventListener("blur", () => this.setFocus(-1));
    scroll.addEventListener("scroll", () => {
      this.draw();
      this.hoverAgain();
    });
    new ResizeObserver(() => this.resize()).observe(scroll);
  }
}

function stripes(color, stripe) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const context = tile.getContext("2d");
  context.fillStyle = color;
  context.fillRect(0, 0, 8, 8);
  context.strokeStyle = stripe;
  context.lineWidth = 3;
  for (const x of [-8, 0, 8]) {
    context.beginPath();
    context.moveTo(x, 8);
    context.lineTo(x + 8, 0);
    context.stroke();
  }
  return tile;
}
