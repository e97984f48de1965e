// Ties the parts together: asks the agent for what the state says, and shows it.

import { address, ask, askJson } from "./api.js";
import { FlameView } from "./flamegraph.js";
import { clock, cores, count, cpuTime, duration, percent } from "./format.js";
import { Graph, patternOf } from "./graph.js";
import { showOwners } from "./owners.js";
import { change, load, onChange, state } from "./state.js";
import { showTimeline } from "./timeline.js";
import { element } from "./tooltip.js";

const REFRESH_MS = 5000;
const RECORD_SECONDS = 10;
const NOTICE_MS = 8000;

const $ = (id) => document.getElementById(id);
const view = new FlameView((node) => zoom(node), describe);
let graph = null;
let asking = null;

// Time shown, in the agent's clock, which need not be the browser's.
let clockSkew = 0;

function timeShown() {
  const now = Date.now() + clockSkew;
  return state.live ? { from: now - state.live * 1000, to: now } : { from: state.from, to: state.to };
}

async function refresh() {
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  const { signal } = mine;
  try {
    const timeline = await askJson("timeline", {}, signal);
    clockSkew = timeline.now_ms - Date.now();
    const { from, to } = timeShown();
    const range = { from: Math.floor(from), to: Math.ceil(to) };
    const [owners, json] = await Promise.all([
      askJson("owners", range, signal),
      askJson("flamegraph", { owner: state.owner, ...range }, signal),
    ]);
    showTimeline(timeline, from, to);
    showTotals(timeline.points.filter((point) => point.start_ms >= from && point.start_ms < to));
    showOwners(owners, new Map(timeline.owners.map((owner, place) => [owner.id, place])));
    showRange(range);
    showGraph(new Graph(json), timeline);
    lastTrouble = "";
  } catch (error) {
    if (error.name !== "AbortError") trouble(error);
  } finally {
    if (asking === mine) asking = null;
  }
}

function showTotals(points) {
  const seconds = points.reduce((sum, point) => sum + point.duration_ms, 0) / 1000;
  const nanos = points.reduce((sum, point) => sum + point.cpu_nanos.reduce((a, b) => a + b, 0), 0);
  const lost = points.reduce((sum, point) => sum + point.lost, 0);
  $("cores").textContent = seconds ? cores(nanos / 1e9 / seconds) : "–";
  $("samples").textContent = count(points.reduce((sum, point) => sum + point.samples, 0));
  $("lost").textContent = count(lost);
  $("lost").parentElement.classList.toggle("some", lost > 0);
}

function showRange({ from, to }) {
  $("range").textContent = state.live
    ? `last ${duration(state.live * 1000)}, up to ${clock(to)}`
    : `${clock(from)} – ${clock(to)} (${duration(to - from)})`;
  for (const button of document.querySelectorAll("[data-live]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.live) === state.live));
  }
  $("download").href = address("pprof", { owner: state.owner, from, to });
}

function showGraph(next, timeline) {
  graph = next;
  view.show(graph);
  view.zoom(graph.find(state.zoom), false);
  view.hoverAgain();
  showSearch();
  showCrumbs();
  const empty = graph.total === 0;
  $("empty").hidden = !empty;
  $("download").setAttribute("aria-disabled", String(empty));
  if (!empty) return;
  const recorded = timeline.points.length > 0;
  $("empty-title").textContent = recorded ? "No CPU time here" : "Waiting for the first window";
  $("empty-text").textContent = recorded
    ? state.owner
      ? "This owner used no CPU in the time shown. Choose a longer time above, or another owner on the left."
      : "Nothing was recorded in the time shown. Choose a coloured part of the chart above, or return to live."
    : "The agent counts stacks for 5 seconds at a time. The first flame graph appears by itself about 10 seconds after the start.";
}

function showCrumbs() {
  const node = graph.find(state.zoom);
  const path = graph.ancestors(node);
  // Of a deep path, the root and what is next to the zoomed one.
  const shown = path.length > 6 ? [path[0], -1, ...path.slice(-4)] : path;
  $("crumbs").replaceChildren(
    ...shown.map((at) => {
      const item = document.createElement("li");
      if (at < 0) {
        item.append(element("span", "", "…"));
        return item;
      }
      const { name } = graph.frameOf(at);
      const button = element("button", "", at === 0 ? `total ${cpuTime(graph.total)}` : name);
      button.type = "button";
      button.title = name;
      button.addEventListener("click", () => zoom(at));
      item.append(button);
      return item;
    }),
  );
  $("reset").disabled = node === 0 && !state.query;
}

function showSearch() {
  if ($("search").value !== state.query) $("search").value = state.query;
  if (!graph) return;
  if (!state.query) {
    $("matched").textContent = "";
    view.setMatches(null);
    return;
  }
  const { frames, value } = graph.search(patternOf(state.query));
  $("matched").textContent = `${percent(value, graph.total)} matched`;
  view.setMatches(frames);
}

function showDirection() {
  $("icicle").setAttribute("aria-pressed", String(!state.flame));
  $("flame").setAttribute("aria-pressed", String(state.flame));
  view.setFlame(state.flame);
}

function describe(node) {
  if (node < 0 || !graph) {
    $("focused").textContent = "";
    return;
  }
  const { name } = graph.frameOf(node);
  const self = `self ${cpuTime(graph.self[node])} (${percent(graph.self[node], graph.total)})`;
  const total = `total ${cpuTime(graph.value[node])} (${percent(graph.value[node], graph.total)})`;
  $("focused").textContent = `${name}: ${self}, ${total}`;
}

function zoom(node) {
  change({ zoom: graph.key(node) });
}

let lastTrouble = "";
function trouble(error) {
  const sentence = error instanceof TypeError ? "the agent does not answer: is it still running?" : error.message;
  // Said once, not at every refresh.
  if (sentence !== lastTrouble) notify(sentence);
  lastTrouble = sentence;
}

let noticeTimer = 0;
function notify(text) {
  const notice = $("notice");
  notice.textContent = text;
  notice.hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => (notice.hidden = true), NOTICE_MS);
}

async function record() {
  const button = $("record");
  button.disabled = true;
  button.classList.add("recording");
  let left = RECORD_SECONDS;
  const tick = () => ($("record-label").textContent = left > 0 ? `Recording, ${left--} s left` : "Saving");
  tick();
  const timer = setInterval(tick, 1000);
  try {
    const response = await ask("profile", { seconds: RECORD_SECONDS });
    const name = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? "profile.pb.gz";
    save(await response.blob(), name);
    const [samples, lost] = ["samples", "lost"].map((what) => Number(response.headers.get(`x-thermograph-${what}`)));
    notify(`${name}: ${count(samples)} samples, ${count(lost)} lost. Open it with: go tool pprof -http=: ${name}`);
  } catch (error) {
    notify(error.message);
  } finally {
    clearInterval(timer);
    button.disabled = false;
    button.classList.remove("recording");
    $("record-label").textContent = `Record ${RECORD_SECONDS} s now`;
  }
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// One step back: the search, the zoom, then the time.
function back() {
  if (state.query) change({ query: "" });
  else if (state.zoom) zoom(graph.parent[graph.find(state.zoom)]);
  else if (!state.live) change({ live: 300 });
}

onChange((changed) => {
  if (["live", "from", "to", "owner"].some((key) => changed.has(key))) {
    refresh();
    return;
  }
  if (changed.has("flame")) showDirection();
  if (changed.has("query")) showSearch();
  if (changed.has("zoom") && graph) view.zoom(graph.find(state.zoom), true);
  if (graph) showCrumbs();
});

for (const button of document.querySelectorAll("[data-live]")) {
  button.addEventListener("click", () => change({ live: Number(button.dataset.live), from: 0, to: 0 }));
}
$("search").addEventListener("input", () => change({ query: $("search").value }));
$("reset").addEventListener("click", () => change({ query: "", zoom: "" }));
$("icicle").addEventListener("click", () => change({ flame: false }));
$("flame").addEventListener("click", () => change({ flame: true }));
$("record").addEventListener("click", record);
$("download").addEventListener("click", (event) => {
  if ($("download").getAttribute("aria-disabled") === "true") event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = document.activeElement === $("search");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("search").select();
  } else if (event.key === "Escape") {
    event.preventDefault();
    if (typing) $("search").blur();
    back();
  } else if (event.key === "Enter" && typing) {
    $("flamegraph").focus();
  }
});
addEventListener("hashchange", load);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);

load();
showDirection();
showSearch();
refresh();
setInterval(() => {
  // A page nobody looks at costs the host nothing, and a slow answer is waited for.
  if (state.live && !document.hidden && !asking) refresh();
}, REFRESH_MS);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
