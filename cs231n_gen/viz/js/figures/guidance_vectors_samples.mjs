// The samples of GuidanceVectors, which are computed a few at a time.

import { spreadOfPoints } from "../math/guidance.mjs";
import { Crowd } from "../math/velocity_field.mjs";

/** Samples of a class under guidance, and what is to be said of them. */
export class GuidedSamples {
  constructor(noise, fields, chances) {
    Object.assign(this, { noise, fields, chances });
    this.job = null; // the crowd that is computed, and
    this.ready = null; // the last one whose points are all there
  }

  /** Whether the samples that are ready are those of the setting. */
  fits(setting) {
    const { ready } = this;
    return ready !== null && ["y", "w", "steps"].every((name) => ready[name] === setting[name]);
  }

  /**
   * Go on until a deadline: a crowd that was begun is finished, then comes that of the setting. Tells
   * whether others are ready than before.
   */
  work(setting, deadline) {
    if (this.fits(setting)) return false;
    this.job ??= this.begun(setting);
    const { crowd, y } = this.job;
    if (!crowd.reach(0, () => performance.now() > deadline)) return false;
    const xy = crowd.at(0);
    this.ready = { ...this.job, ...spreadOfPoints(xy), sure: this.sure(xy, y) };
    this.job = null;
    return true;
  }

  begun({ y, w, steps }) {
    const crowd = new Crowd(this.fields.get(y).guided(w), this.noise);
    crowd.use(steps, false);
    return { y, w, steps, crowd };
  }

  /** p(y | x), averaged over points. */
  sure(xy, label) {
    const chance = this.chances.get(label);
    let sum = 0;
    for (let i = 0; i < xy.length; i += 2) sum += chance(xy[i], xy[i + 1], 0);
    return sum / (xy.length / 2);
  }
}
