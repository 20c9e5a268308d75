// The ground of a figure: its host, light and dark, and links to its setting.

import { make, quietly } from "./dom.mjs";
import { COLORS, THEMES } from "./palette.mjs";
import { fromLink, toLink } from "./permalink.mjs";

/** The documents that may say which theme is on: this one, and the page around a frame. */
function documents() {
  const outside = quietly(() => globalThis.parent.document);
  return outside && outside !== document ? [outside, document] : [document];
}

/** Whether it is dark around the figure: what the page says of itself, else what the reader wants. */
export function isDark() {
  for (const { documentElement: root, body } of documents()) {
    const said = root.dataset.theme ?? body?.dataset.theme;
    if (said === "dark" || said === "light") return said === "dark";
    if (body?.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
    if (body?.classList.contains("vscode-dark")) return true;
    if (body?.classList.contains("vscode-light")) return false;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/**
 * The ground on which a figure is built: a root element in the theme of its page, a list of what
 * is undone when it goes, and the model of a host that may lack save_changes, off or send.
 */
export class Stage {
  constructor({ model, el }, kind) {
    this.model = model;
    this.undo = [];
    this.root = make("div", {
      class: `gen-figure gen-${kind}`,
      role: "group",
      "aria-label": model.get("alt"),
      "data-lm-suppress-shortcuts": "true",
    });
    this.root.addEventListener("keydown", (event) => event.stopPropagation());
    el.replaceChildren(this.root);
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.dress();
  }

  get(name) {
    return this.model.get(name);
  }

  /** Tell Python, where there is one. */
  tell(values) {
    this.telling = true; // a model says at once that it changed
    for (const [name, value] of Object.entries(values)) quietly(() => this.model.set(name, value));
    this.telling = false;
    quietly(() => this.model.save_changes());
  }

  /** Hear of changes made in Python. */
  hear(names, said) {
    const listener = () => this.telling || said();
    for (const name of names) {
      quietly(() => this.model.on(`change:${name}`, listener));
      this.undo.push(() => this.model.off(`change:${name}`, listener));
    }
  }

  dress() {
    const name = isDark() ? "dark" : "light";
    this.theme = THEMES[name];
    this.root.dataset.theme = name;
    for (const [key, value] of Object.entries({ ...COLORS, ...this.theme })) {
      this.root.style.setProperty(`--gen-${key}`, value);
    }
  }

  /** Call when light or dark, or the size of the figure, changed. */
  watch(redraw) {
    const again = () => {
      this.dress();
      redraw();
    };
    const asked = matchMedia("(prefers-color-scheme: dark)");
    asked.addEventListener("change", again);
    this.undo.push(() => asked.removeEventListener("change", again));
    const attributes = ["data-theme", "data-jp-theme-light", "class"];
    for (const { documentElement: html, body } of documents()) {
      const observer = new MutationObserver(again);
      for (const node of [html, body]) {
        if (node) observer.observe(node, { attributes: true, attributeFilter: attributes });
      }
      this.undo.push(() => observer.disconnect());
    }
    const size = new ResizeObserver(redraw);
    size.observe(this.root);
    this.undo.push(() => size.disconnect());
  }

  /** Read a link's setting from the address of the page, if it is one of this figure. */
  opened(like) {
    const name = this.get("name");
    for (const page of [() => globalThis.parent, () => globalThis]) {
      const hash = quietly(() => page().location.hash);
      const found = hash ? fromLink(hash, name, like) : null;
      if (found) {
        setTimeout(() => (quietly(() => globalThis.frameElement) ?? this.root).scrollIntoView());
        return found;
      }
    }
    return {};
  }

  /** A button that puts a link to this setting on the clipboard and into the address. */
  linkButton(setting) {
    const button = make("button", { type: "button", title: "Copy a link to this setting" }, "Link");
    button.addEventListener("click", () => {
      const hash = `#${toLink(this.get("name"), setting())}`;
      const page = quietly(() => globalThis.parent.location.href && globalThis.parent) ?? globalThis;
      const address = page.location.href.split("#")[0] + hash;
      const inNotebook = /\/(lab|notebooks|tree)\b/.test(page.location.pathname);
      if (!inNotebook) quietly(() => page.history.replaceState(null, "", hash));
      quietly(() => navigator.clipboard.writeText(inNotebook ? hash : address).catch(() => {}));
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Link"), 1500);
    });
    return button;
  }

  /** What undoes it all. */
  close() {
    return () => this.undo.splice(0).forEach(quietly);
  }
}
