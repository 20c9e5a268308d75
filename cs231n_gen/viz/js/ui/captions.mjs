// Words beside pictures: captions, what a colour stands for, symbols.

import { make } from "./dom.mjs";

/** An element that shows a colour before its words. */
function colored(element, color) {
  element.style.setProperty("--of", color);
  return element;
}

/** What a colour of the picture stands for. */
export const key = (color, ...words) => colored(make("span", {}, ...words), color);

/** A picture under its title. */
export function panel(title, color, ...inside) {
  const caption = colored(make("figcaption", {}, title), color);
  return make("figure", { class: "gen-panel" }, caption, ...inside);
}

/** A picture under what its colours stand for. */
export function captioned(keys, ...inside) {
  return make("figure", {}, make("figcaption", { class: "gen-legend" }, ...keys), ...inside);
}

/** A row of controls. */
export const bar = (...controls) => make("div", { class: "gen-bar" }, ...controls);

/** A letter with its index, as in v_y. */
export const symbol = (letter, index) => [make("i", {}, letter), make("sub", {}, index)];

/** What is written, line by line, as one text. */
export const textOf = (element) => [...element.children].map((line) => line.textContent).join(" ");
