// Trajectories: points or images that were computed elsewhere, frame by frame from noise to data.

import { frameAt } from "../math/frames.mjs";
import { bar } from "../ui/captions.mjs";
import { Clock, Player, timeSlider } from "../ui/controls.mjs";
import { make } from "../ui/dom.mjs";
import { Figure } from "../ui/figure.mjs";
import { level } from "../ui/format.mjs";
import { CloudView, ImagesView } from "./trajectories_views.mjs";

const SECONDS = 4; // from the first frame to the last

class TrajectoriesFigure extends Figure {
  constructor(host) {
    super(host, "film", ["t"]);
    const { now, stage } = this;
    this.times = stage.get("times");
    this.tidy();
    const shape = stage.get("shape");
    this.frames = shape[0];
    this.view = shape.length === 3 ? new CloudView(this, shape) : new ImagesView(this, shape);
    this.clock = new Clock(stage, (seconds) => this.tick(seconds));
    this.player = new Player(stage, this.clock, {
      step: () => this.step(),
      start: () => now.t <= this.times.at(-1) && Object.assign(now, { t: this.times[0] }),
      paused: () => this.told(),
    });
    this.time = timeSlider(now.t, [this.times.at(-1), this.times[0]], (t) => {
      this.player.pause();
      this.to(t);
    });
    this.time.input.addEventListener("change", () => this.told());
    this.says = make("p", { class: "gen-keys" });
    const link = stage.linkButton(() => now);
    stage.root.append(
      this.view.box,
      bar(this.player.button, this.time.row, ...this.view.controls, link),
      this.says,
      this.aloud,
    );
  }

  tidy() {
    this.now.t = Math.min(this.times[0], Math.max(this.times.at(-1), this.now.t));
  }

  show() {
    this.time.show(-this.now.t);
  }

  /** The number of the frame that is shown. */
  frame() {
    return Math.round(frameAt(this.times, this.now.t));
  }

  // --- what the reader does -----------------------------------------------------------------------

  /** Space, comma, full stop, Home and End; `first` may take a key before. */
  listen(target, first = () => false) {
    target.addEventListener("keydown", (event) => {
      const { frames, times } = this;
      const k = this.frame();
      if (first(event));
      else if (event.key === " " && target.tagName !== "BUTTON") this.player.toggle();
      else if (event.key === ",") this.to(times[Math.max(0, k - 1)]);
      else if (event.key === ".") this.to(times[Math.min(frames - 1, k + 1)]);
      else if (event.key === "Home") this.to(times[0]);
      else if (event.key === "End") this.to(times.at(-1));
      else return;
      event.preventDefault();
      this.told();
    });
  }

  /** Go to a level. */
  to(t) {
    this.now.t = t;
    this.tidy();
    this.show();
    this.draw();
  }

  /** A tenth of the frames further, and from the last to the first. */
  step() {
    const k = this.frame();
    const last = this.frames - 1;
    this.to(this.times[k === last ? 0 : Math.min(last, k + Math.ceil(this.frames / 10))]);
  }

  tick(seconds) {
    if (!this.player.playing) return false;
    const end = this.times.at(-1);
    this.to(this.now.t - (seconds / SECONDS) * (this.times[0] - end));
    if (this.now.t <= end) this.player.pause();
    return this.player.playing;
  }

  told() {
    this.stage.tell(this.now);
    this.aloud.textContent = this.says.textContent;
  }

  draw() {
    this.view.draw();
    const which = `frame ${this.frame() + 1} of ${this.frames}`;
    this.says.textContent = `${level(this.now.t)}, ${which} · ${this.view.says()}`;
  }
}

const render = (host) => new TrajectoriesFigure(host).begin();

export default { render };
