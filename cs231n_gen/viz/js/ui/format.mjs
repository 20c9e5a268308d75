// Numbers as the reader sees them.

/** A number with its sign, as wide whatever it is. */
export function signed(value, digits = 2) {
  return (value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
}

/** What a slider from noise (−1) to data (0) says. */
export const level = (v) => `t = ${Math.abs(v).toFixed(2)}`;

/** A part of the whole in percent. */
export const percent = (part) => `${Math.round(100 * part)} %`;

/** Three digits or so of a number above 0. */
export const digits = (value) => value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3);

/** What a density is, to three digits: = 0.158, or < 0.001, for it is never 0. */
export const equals = (value) => (value < 0.0005 ? "< 0.001" : `= ${value.toFixed(3)}`);

/** The same of a probability, which is never 1 either. */
export const chance = (value) => (value > 0.9995 ? "> 0.999" : equals(value));

/** "1 step", "8 steps". */
export const counted = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;
