// Errors of Euler's paths against α, for ScheduleLab, computed a few points at a time.

import { Errors, SIZES } from "../math/schedules.mjs";

export const OCTAVES = 3; // of alpha, from 1 to 8
export const PER = 8; // points in an octave

/** How many times as large the data of each size are. */
export const SCALES = SIZES.map((size) => size / SIZES[0]);

// With data c times as large and the same noise, Euler's paths are those of the data themselves
// with levels shifted by 1 / c, c times as large. So one function of T and alpha tells it all.
const REACH = Math.log2(SCALES.at(-1));
const GRID = Array.from({ length: PER * (REACH + OCTAVES) + 1 }, (_, k) => 2 ** (k / PER - REACH));

/** The error after T steps at each α of a grid. */
export class ErrorCurves {
  constructor(mixture, noise) {
    this.walks = new Errors(mixture, noise);
  }

  at(T, alpha) {
    return this.walks.at(T, alpha);
  }

  /** The α whose errors are not known yet. */
  missing(T) {
    return GRID.filter((alpha) => !this.walks.has(T, alpha));
  }

  /** The α whose errors are known, from the least on. */
  known(T) {
    const left = this.missing(T);
    return GRID.filter((alpha) => !(alpha >= left[0]));
  }

  /** Go on until `enough()`; tells whether there is more to do. */
  work(T, enough) {
    const left = this.missing(T);
    while (left.length && !enough()) this.at(T, left.shift());
    return left.length > 0;
  }
}
