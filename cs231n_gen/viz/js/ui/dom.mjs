// Elements of a page.

/** What an action gives, or undefined where the host does not know it: some throw. */
export function quietly(action) {
  try {
    return action();
  } catch {
    return undefined;
  }
}

/** An element with attributes (functions are listeners) and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Grey pixels on a canvas of their size. */
export function paint(canvas, grey) {
  const image = new ImageData(canvas.width, canvas.height);
  grey.forEach((value, k) => image.data.set([value, value, value, 255], 4 * k));
  canvas.getContext("2d").putImageData(image, 0, 0);
}
