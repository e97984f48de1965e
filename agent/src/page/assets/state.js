// What is shown, kept in the address behind the #, so that a link shows the same.

const LIVE_SECONDS = [300, 900, 3600];
const listeners = [];

export const state = {
  live: LIVE_SECONDS[0], // length of the time shown up to now, in seconds; 0: from and to count
  from: 0,
  to: 0,
  owner: "",
  query: "",
  zoom: "",
  flame: false, // roots at the bottom
};

export function onChange(listener) {
  listeners.push(listener);
}

export function change(changes) {
  const before = { ...state };
  Object.assign(state, changes);
  const hash = `#${format()}`;
  if (hash !== location.hash) history.replaceState(null, "", hash);
  notify(before);
}

export function load() {
  const before = { ...state };
  const given = new URLSearchParams(location.hash.slice(1));
  const [from, to, live] = ["from", "to", "live"].map((name) => Number.parseInt(given.get(name) ?? "", 10));
  const fixed = from >= 0 && to > from;
  state.live = fixed ? 0 : LIVE_SECONDS.includes(live) ? live : LIVE_SECONDS[0];
  state.from = fixed ? from : 0;
  state.to = fixed ? to : 0;
  state.owner = /^[0-9a-f]{16}$/.test(given.get("owner") ?? "") ? given.get("owner") : "";
  state.query = given.get("q") ?? "";
  state.zoom = given.get("zoom") ?? "";
  state.flame = given.get("flame") === "1";
  notify(before);
}

function notify(before) {
  const changed = new Set(Object.keys(state).filter((key) => state[key] !== before[key]));
  if (changed.size) for (const listener of listeners) listener(changed);
}

function format() {
  const hash = new URLSearchParams();
  if (state.live) {
    hash.set("live", state.live);
  } else {
    hash.set("from", state.from);
    hash.set("to", state.to);
  }
  if (state.owner) hash.set("owner", state.owner);
  if (state.query) hash.set("q", state.query);
  if (state.zoom) hash.set("zoom", state.zoom);
  if (state.flame) hash.set("flame", "1");
  return hash.toString();
}
