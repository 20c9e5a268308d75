// What captions say, as given/captions.py builds them: "a small red ring left of a large blue square". A scene
// is seven numbers: size, colour and shape, a relation, and size, colour and shape of the second object.

export const ALONE = 4; // in place of a relation
export const NOTHING = -1; // of a second object
export const UNREADABLE = -2; // of all parts
const SIDEWAYS = 2; // relations that are followed by "of"
const TURNED = [1, 0, 3, 2, ALONE]; // relations seen from the other object

/** The words of a text, in small letters. */
export const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

/** How many letters must be changed, put in, left out or exchanged with the next to make one word of another. */
export function editsBetween(one, other) {
  const rows = [Array.from({ length: other.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= one.length; i++) {
    const [row, last] = [[i], rows[i - 1]];
    for (let j = 1; j <= other.length; j++) {
      const change = last[j - 1] + (one[i - 1] === other[j - 1] ? 0 : 1);
      row.push(Math.min(change, last[j] + 1, row[j - 1] + 1));
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      if (swapped) row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1);
    }
    rows.push(row);
  }
  return rows.at(-1).at(-1);
}

/** The words, sizes and so on of captions, and how they are put together. */
export class CaptionWords {
  /**
   * @param {string[]} vocabulary whose first entry stands for no word
   * @param {string[][]} menus sizes, colours, shapes and relations
   * @param {number} length words of a text at most
   */
  constructor(vocabulary, menus, length) {
    const [sizes, colours, shapes, relations] = menus;
    Object.assign(this, { vocabulary, menus, length, relations });
    this.things = [sizes, colours, shapes];
  }

  /** The numbers of a text's words, or a sentence that says what is wrong with it: { tokens, wrong }. */
  tokens(text) {
    const words = wordsOf(text);
    if (words.length > this.length) {
      return { tokens: null, wrong: `A text has at most ${this.length} words; this one has ${words.length}.` };
    }
    const tokens = words.map((word) => this.vocabulary.indexOf(word));
    const k = tokens.indexOf(-1);
    return k < 0 ? { tokens, wrong: "" } : { tokens: null, wrong: this.unknown(words[k]) };
  }

  /** The sentence about a word that is not known. */
  unknown(word) {
    const known = this.vocabulary.slice(1);
    const off = (one) => editsBetween(word, one);
    const near = known.filter((one) => off(one) <= (word.length < 5 ? 1 : 2)).sort((a, b) => off(a) - off(b));
    const hint = near.length ? ` Did you mean “${near[0]}”?` : "";
    return `The model does not know the word “${word}”.${hint} It knows: ${known.join(", ")}.`;
  }

  /** The scene of a text, or null if it is not built like captions. */
  scene(text) {
    const words = wordsOf(text);
    const first = this.thing(words.slice(0, 4));
    if (!first) return null;
    if (words.length === 4) return [...first, ALONE, NOTHING, NOTHING, NOTHING];
    const relation = this.relations.indexOf(words[4]);
    const of = relation < SIDEWAYS ? 1 : 0;
    if (relation < 0 || (of && words[5] !== "of")) return null;
    const second = this.thing(words.slice(5 + of));
    return second ? [...first, relation, ...second] : null;
  }

  thing(words) {
    if (words.length !== 4 || words[0] !== "a") return null;
    const found = this.things.map((some, i) => some.indexOf(words[i + 1]));
    return found.includes(-1) ? null : found;
  }

  /** The caption of a scene. */
  say([size, colour, shape, relation, ...other]) {
    const thing = (parts) => `a ${parts.map((part, i) => this.things[i][part]).join(" ")}`;
    const words = thing([size, colour, shape]);
    if (relation === ALONE) return words;
    return `${words} ${this.relations[relation]}${relation < SIDEWAYS ? " of" : ""} ${thing(other)}`;
  }
}

/** The scene with its objects exchanged: "A left of B" becomes "B left of A". */
export function exchangedScene(scene) {
  if (scene[3] === ALONE) return scene;
  return [...scene.slice(4), scene[3], ...scene.slice(0, 3)];
}

/** The same picture, told from its other object: "A left of B" becomes "B right of A". */
export function retoldScene(scene) {
  if (scene[3] < 0) return scene;
  const other = [...exchangedScene(scene)];
  other[3] = TURNED[scene[3]];
  return other;
}

/** Which of a scene's parts a picture shows that was read, from whichever of its objects fits better. */
export function partsShown(seen, scene) {
  const right = (told) => told.map((part, k) => part === scene[k]);
  const [one, other] = [right(seen), right(retoldScene(seen))];
  const count = (parts) => parts.filter(Boolean).length;
  return count(other) > count(one) ? other : one;
}

/** The part of a scene that each word of its caption names; -1 for "a" and "of". */
export function partsOfWords(scene) {
  const thing = (first) => [-1, first, first + 1, first + 2];
  if (scene[3] === ALONE) return thing(0);
  return [...thing(0), 3, ...(scene[3] < SIDEWAYS ? [-1] : []), ...thing(4)];
}
