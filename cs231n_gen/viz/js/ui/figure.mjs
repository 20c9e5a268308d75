// What every figure is: a setting that the reader, a link and Python change, on a stage.

import { make } from "./dom.mjs";
import { Stage } from "./stage.mjs";

/** A figure says how to `tidy` its setting, `show` it in its controls and `draw` it. */
export class Figure {
  constructor(host, kind, setting) {
    this.stage = new Stage(host, kind);
    this.setting = setting; // names of what the setting holds
    this.now = this.given();
    Object.assign(this.now, this.stage.opened(this.now));
    this.aloud = make("div", { class: "gen-hidden", "aria-live": "polite" });
  }

  /** The setting that Python knows. */
  given() {
    return Object.fromEntries(this.setting.map((name) => [name, this.stage.get(name)]));
  }

  /** Keep the setting within its bounds. */
  tidy() {}

  /** Controls as the setting says. */
  show() {}

  /** Take other values into the setting, and show them. */
  change(values) {
    Object.assign(this.now, values);
    this.tidy();
    this.show();
    this.draw(true);
  }

  /** What the reader chose by a control. */
  set(values) {
    this.change(values);
    this.told();
  }

  /** Tell Python, and who listens. */
  told() {
    this.stage.tell(this.now);
  }

  /** What Python changed. */
  heard() {
    this.change(this.given());
  }

  /** Show it and listen; gives what takes it away again. */
  begin() {
    this.stage.hear(this.setting, () => this.heard());
    this.show();
    this.draw(true);
    this.stage.watch(() => this.draw(true));
    this.stage.root.dataset.ready = "1";
    return this.stage.close();
  }
}
