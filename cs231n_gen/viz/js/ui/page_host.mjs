// A page without a kernel: the model of a figure is `state`, which was written into the page.
const heard = {};
const model = {
  get: (name) => state[name],
  set(name, value) {
    state[name] = value;
    for (const listener of heard[`change:${name}`] ?? []) listener();
  },
  on(event, listener) {
    heard[event] ??= [];
    heard[event].push(listener);
  },
};
const el = document.getElementById("figure");
figure.render({ model, el });
const fit = () => {
  const frame = window.frameElement;
  if (frame) frame.style.height = `${Math.ceil(document.documentElement.getBoundingClientRect().height)}px`;
};
const root = el.firstElementChild;
const dress = () => {
  document.body.style.background = root.style.getPropertyValue("--gen-paper");
};
new MutationObserver(dress).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
dress();
new ResizeObserver(fit).observe(document.documentElement);
fit();
