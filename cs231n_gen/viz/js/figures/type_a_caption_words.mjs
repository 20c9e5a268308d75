// What TypeACaption says of a picture, and of what its patches attend to.

import { ALONE, retoldScene, UNREADABLE } from "../math/caption_words.mjs";
import { make } from "../ui/dom.mjs";
import { percent } from "../ui/format.mjs";

const NAMES = ["size", "colour", "shape", "relation", "size", "colour", "shape"];

/** "the colour of the first object", for a part of a scene. */
function nameOfPart(k, scene) {
  if (k === 3) return scene[3] === ALONE ? "the number of objects" : "the relation";
  if (scene[3] === ALONE) return `the ${NAMES[k]}`;
  return `the ${NAMES[k]} of the ${k < 3 ? "first" : "second"} object`;
}

/** What the program reads in a picture, and whether it is what was asked for. */
export function sayRead({ seen, scene, parts, words }) {
  if (seen[0] === UNREADABLE) return ["no clean shapes"];
  const fits = (told) => parts.every((right, k) => right === (told[k] === scene[k]));
  const told = fits(seen) ? seen : retoldScene(seen); // from the object from which the caption tells it
  const read = make("b", {}, `“${words.say(told)}”`);
  if (!scene) return [read];
  const wrong = parts.flatMap((right, k) => (right ? [] : [k]));
  if (!wrong.length) return [read, ": what the caption asks for"];
  const counted = scene[3] === ALONE || seen[3] === ALONE ? wrong.filter((k) => k < 4) : wrong;
  return [read, `: ${counted.map((k) => nameOfPart(k, scene)).join(", ")} should be different`];
}

/** Combinations of a scene that training never showed. */
export function sayHeldOut(scene, heldOut, words) {
  if (!scene) return "";
  const [, colours, shapes] = words.things;
  const found = [
    [scene[1], scene[2]],
    [scene[5], scene[6]],
  ].filter(([colour, shape]) => heldOut.some(([c, s]) => c === colour && s === shape));
  if (!found.length) return "";
  const names = found.map(([colour, shape]) => `${colours[colour]} ${shapes[shape]}`);
  return ` In training there was no ${names.join(" and no ")}.`;
}

/** How much patches attend to a word. */
export function sayPatches({ word, shares, t, block }) {
  const most = Math.max(...shares);
  const side = Math.sqrt(shares.length);
  const k = shares.indexOf(most);
  const mean = shares.reduce((sum, v) => sum + v, 0) / shares.length;
  const where = `row ${Math.floor(k / side) + 1}, column ${(k % side) + 1}`;
  const of = block ? `in block ${block}` : "on average over the blocks";
  return (
    `“${word}” gets ${percent(mean)} of the patches’ attention ${of} at t = ${t.toFixed(2)}, ` +
    `most of it from the patch in ${where}: ${percent(most)}.`
  );
}
