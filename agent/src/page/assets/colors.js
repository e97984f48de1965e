// Colours of frames and owners. None carries meaning alone: kernel frames have a bar and end in _[k], outcomes are striped
// and stand in brackets.

const OWNERS_LIGHT = ["#e8590c", "#1c7ed6", "#2b8a3e", "#9c36b5", "#e0a100", "#0c8599", "#c2255c", "#5f3dc4", "#a8a29a"];
const OWNERS_DARK = ["#ff8c42", "#4dabf7", "#69db7c", "#da77f2", "#ffd43b", "#3bc9db", "#f783ac", "#9775fa", "#6f6962"];

export const KIND = { USER: 0, KERNEL: 1, OUTCOME: 2, FOLDED: 3 };

export function kindOf(name) {
  if (name.endsWith("_[k]")) return KIND.KERNEL;
  if (name.startsWith("[") && name.endsWith("]")) return KIND.OUTCOME;
  if (/^\((\d+ small|left out)\)$/.test(name)) return KIND.FOLDED;
  return KIND.USER;
}

export function dark() {
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

// FNV-1a: the same name has the same colour in every view.
export function hash(text, seed = 0x811c9dc5) {
  let value = seed;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

export function frameColor(kind, name, module, isDark) {
  const byModule = hash(module);
  const byName = hash(name);
  const light = (isDark ? 60 : 70) + (byName % 9);
  switch (kind) {
    case KIND.KERNEL:
      return `hsl(${206 + (byName % 18)} ${42 + (byName % 13)}% ${light}%)`;
    case KIND.FOLDED:
    case KIND.OUTCOME:
      return null;
    default:
      return `hsl(${8 + (byModule % 32) + (byName % 7)} ${76 + (byName % 16)}% ${light - 4}%)`;
  }
}

export function ownerColor(place) {
  const colors = dark() ? OWNERS_DARK : OWNERS_LIGHT;
  return colors[Math.min(place, colors.length - 1)];
}

export function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
