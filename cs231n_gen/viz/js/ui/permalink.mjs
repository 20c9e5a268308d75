// A setting of a figure as text that goes into a link, as viz/permalink.py writes and reads it.

/** A setting as text: `figure=flow-field&t=0.4&z=-1.2,0.4`. Booleans are 1 and 0. */
export function toLink(name, setting) {
  const words = Object.entries(setting).map(([key, value]) => {
    const parts = [value].flat().map((v) => {
      if (typeof v === "boolean") return Number(v);
      return typeof v === "number" ? Number(v.toFixed(4)) : encodeURIComponent(v);
    });
    return `${key}=${parts.join(",")}`;
  });
  return [`figure=${encodeURIComponent(name)}`, ...words].join("&");
}

/**
 * The setting that a link holds for a figure, or null: only keys of `like`, each of its type; what
 * is not a number where one belongs is left out.
 */
export function fromLink(text, name, like) {
  const words = new URLSearchParams(text.replace(/^#/, ""));
  if (words.get("figure") !== name) return null;
  const found = {};
  for (const [key, known] of Object.entries(like)) {
    if (!words.has(key)) continue;
    const value = words.get(key);
    if (typeof known === "string") found[key] = value;
    else if (typeof known === "boolean") found[key] = value === "1";
    else {
      const numbers = value.split(",").map((v) => (v === "" ? NaN : Number(v)));
      const fits = numbers.length === [known].flat().length && numbers.every(Number.isFinite);
      if (fits) found[key] = Array.isArray(known) ? numbers : numbers[0];
    }
  }
  return found;
}
