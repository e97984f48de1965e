// The tree of calls in flat arrays, depth first: a node's subtree is what lies between it and end[node].

import { hash, kindOf } from "./colors.js";

export class Graph {
  constructor(json) {
    this.total = json.total;
    this.frames = json.frames.map((frame) => ({
      name: frame.name,
      module: frame.module ?? "",
      file: frame.file ?? "",
      line: frame.line ?? 0,
      kind: kindOf(frame.name),
    }));
    const size = json.nodes.length;
    this.size = size;
    this.parent = new Uint32Array(size);
    this.frame = new Uint32Array(size);
    this.self = new Float64Array(size);
    this.value = new Float64Array(size);
    this.start = new Float64Array(size);
    this.depth = new Uint16Array(size);
    this.end = new Uint32Array(size);
    this.path = new Uint32Array(size);
    this.read(json.nodes);
  }

  read(nodes) {
    const filled = new Float64Array(nodes.length);
    this.maxDepth = 0;
    for (let i = 0; i < nodes.length; i++) {
      const [parent, frame, self, value] = nodes[i];
      this.parent[i] = parent;
      this.frame[i] = frame;
      this.self[i] = self;
      this.value[i] = value;
      const { name, module } = this.frames[frame];
      if (i > 0) {
        this.depth[i] = this.depth[parent] + 1;
        this.start[i] = this.start[parent] + filled[parent];
        filled[parent] += value;
      }
      this.path[i] = hash(`${name}\n${module}`, i > 0 ? this.path[parent] : undefined);
      this.maxDepth = Math.max(this.maxDepth, this.depth[i]);
    }
    for (let i = nodes.length - 1; i >= 0; i--) {
      this.end[i] = Math.max(this.end[i], i + 1);
      if (i > 0) this.end[this.parent[i]] = Math.max(this.end[this.parent[i]], this.end[i]);
    }
  }

  frameOf(node) {
    return this.frames[this.frame[node]];
  }

  // A node's name in an address: the same for the same path in a later graph.
  key(node) {
    return node ? this.path[node].toString(16).padStart(8, "0") : "";
  }

  find(key) {
    const path = Number.parseInt(key, 16);
    const node = key ? this.path.indexOf(path) : 0;
    return node < 0 ? 0 : node;
  }

  *children(node) {
    for (let child = node + 1; child < this.end[node]; child = this.end[child]) yield child;
  }

  ancestors(node) {
    const path = [node];
    while (path[0] !== 0) path.unshift(this.parent[path[0]]);
    return path;
  }

  // The node that lies at `value` along the root, `depth` below it, or -1.
  at(value, depth) {
    let node = 0;
    while (node >= 0 && this.depth[node] < depth) {
      let next = -1;
      for (const child of this.children(node)) {
        if (value >= this.start[child] && value < this.start[child] + this.value[child]) next = child;
      }
      node = next;
    }
    return node;
  }

  // Which frames match, and the time in any of them: a match below a match counts once.
  search(pattern) {
    const frames = this.frames.map((frame) => pattern.test(frame.name) || pattern.test(frame.module));
    let value = 0;
    for (let node = 1; node < this.size; ) {
      if (frames[this.frame[node]]) {
        value += this.value[node];
        node = this.end[node];
      } else {
        node++;
      }
    }
    return { frames, value };
  }
}

// What was typed, as a regular expression; as itself where it is none.
export function patternOf(text) {
  try {
    return new RegExp(text, "i");
  } catch {
    return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
  }
}
