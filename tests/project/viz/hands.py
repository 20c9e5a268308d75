"""What tests do to a figure in a browser: move sliders, use a host that can do little."""

from cs231n_gen.viz import standalone_page


def slide(control, value):
    """Move a slider as a pointer does: it says input, then change."""
    control.evaluate(
        """(input, value) => {
            input.value = value;
            for (const type of ["input", "change"]) input.dispatchEvent(new Event(type));
        }""",
        value,
    )


def state_of(figure):
    """All that a host would hand to its module; bytes as lists, which cross to a browser."""
    state = {k: getattr(figure, k) for k in figure.trait_names(sync=True) if k[0] != "_"}
    state = {k: [*v] if isinstance(v, bytes) else v for k, v in state.items()}
    return {k: v for k, v in state.items() if k not in ("layout", "tabbable", "tooltip", "comm")}


def in_a_poor_host(tab, figure):
    """Show it where on, off, send and save_changes throw; `gone()` takes it away again, and
    `frames_asked` counts what it asks of the browser."""
    tab.set_content("<div id=el style='width:700px'></div>")
    tab.evaluate(
        """async ([code, state]) => {
            const bytes = (v) => Array.isArray(v) && v.length > 200 ? Uint8Array.from(v) : v;
            const no = () => { throw new Error("not here"); };
            const model = { get: (name) => bytes(state[name]), on: no, off: no, save_changes: no };
            const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
            const { default: figure } = await import(url);
            const frame = requestAnimationFrame;
            window.frames_asked = 0;
            window.requestAnimationFrame = (f) => { window.frames_asked++; return frame(f); };
            window.gone = figure.render({ model, el: document.getElementById("el") });
        }""",
        [standalone_page.module(figure.module), state_of(figure)],
    )
