"""Typical wrong answers to chapter 10's network, each with the sentence that explains it. Networks
are the reference's with another way through their layers."""

import types
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen import flow, guidance, text, text_to_image
from cs231n_gen.checking.variants import form_of, mistake
from cs231n_gen.dit import adaptive_norm, add_gated, modulate
from cs231n_gen.dit_attention import attend, hidden, join
from cs231n_gen.dit_tokens import patchify, timestep_embedding, unpatchify


def fits(model, z, steps, captions, w=0.0, negative="", times=None):
    if isinstance(captions, str) or len(captions) != len(z):
        raise ValueError(f"captions must be a list, one for each of {len(z)}, got {captions!r}")
    if not isinstance(negative, str) and len(negative) != len(z):
        raise ValueError(f"negative must be one text, or one for each of {len(z)}")


# What the lines above a stub's gap refuse, in their words: answers that are compared hold them.
# See `variants.load`.
REFUSED = {"text_to_image.sample": fits}

# --- text_to_image.JointBlock -------------------------------------------------------------------


def through(forward, dim, heads, checked=True):
    """A block with another way through its layers; `forward` gets the six parts of both streams."""
    made = text_to_image.JointBlock(dim, heads)

    def whole(self, x, y, c, mask=None):
        want = (len(x), 6 * x.shape[-1])
        if checked and c.shape != want:
            raise ValueError(f"c must be (batch, 6 · dim), here {want}, got {tuple(c.shape)}")
        of_x = (c + self.image_table).chunk(6, dim=1)
        of_y = (c + self.text_table).chunk(6, dim=1)
        return forward(self, x, y, of_x, of_y, mask, c)

    made.forward = types.MethodType(whole, made)
    return made


def attended(self, x, y, of_x, of_y, mask):
    """Both streams after the attention."""
    a, b = self.joint(adaptive_norm(x, *of_x[:2]), adaptive_norm(y, *of_y[:2]), mask)
    return add_gated(x, of_x[2], a), add_gated(y, of_y[2], b)


def after_mlp(mlp, x, of):
    return add_gated(x, of[5], mlp(adaptive_norm(x, *of[3:5])))


def both_mlps(self, x, y, of_x, of_y):
    return after_mlp(self.image_mlp, x, of_x), after_mlp(self.text_mlp, y, of_y)


@mistake(
    "text_to_image.JointBlock",
    "Padding is attended to: the mask does not reach the attention.",
)
def padding_attended(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        if mask is not None:
            hidden(mask, y)
        return both_mlps(self, *attended(self, x, y, of_x, of_y, None), of_x, of_y)

    return through(forward, dim, heads)


@form_of(padding_attended)
def mask_not_even_read(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        return both_mlps(self, *attended(self, x, y, of_x, of_y, None), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The mask is turned around: the words are hidden, and padding is attended to.",
)
def mask_inverted(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        if mask is not None:
            hidden(mask, y)
            mask = ~mask
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "Padding is set to 0 in y in place of being hidden from the attention. A token of zeros is "
    "still attended to: it has a key, and takes a share of the softmax.",
)
def padding_as_zeros(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        if mask is not None:
            hidden(mask, y)
            y = y * mask[..., None]
        return both_mlps(self, *attended(self, x, y, of_x, of_y, None), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The tables are missing: c alone decides, so both streams and all blocks are modulated alike.",
)
def no_tables(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        of = c.chunk(6, dim=1)
        return both_mlps(self, *attended(self, x, y, of, of, mask), of, of)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The tables have changed places: the image gets the text's, and the text the image's.",
)
def tables_exchanged(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        return both_mlps(self, *attended(self, x, y, of_y, of_x, mask), of_y, of_x)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The text is modulated with the image's table. It has one of its own.",
)
def one_table_for_both(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        return both_mlps(self, *attended(self, x, y, of_x, of_x, mask), of_x, of_x)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The table multiplies c. It is added: at first it is 0, and c alone decides.",
)
def tables_times_c(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        of_x = (c * self.image_table).chunk(6, dim=1)
        of_y = (c * self.text_table).chunk(6, dim=1)
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The gates of the attention and of the MLP have changed places: the third part is that of the "
    "attention, the sixth that of the MLP.",
)
def gates_exchanged(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        of_x, of_y = ([o[0], o[1], o[5], o[3], o[4], o[2]] for o in (of_x, of_y))
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "Shift and scale have changed places: the shift is the first part, the scale the second.",
)
def scale_first(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        of_x, of_y = ([o[1], o[0], o[2], o[4], o[3], o[5]] for o in (of_x, of_y))
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The MLP's three parts went to the attention, and the attention's to the MLP.",
)
def halves_exchanged(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        of_x, of_y = ([*o[3:], *o[:3]] for o in (of_x, of_y))
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The MLPs use the shift and the scale of the attention. They have a shift and a scale of "
    "their own.",
)
def modulated_alike(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        of_x, of_y = ([*o[:3], *o[:2], o[5]] for o in (of_x, of_y))
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "Your six parts are interleaved. Each is dim numbers side by side.",
)
def parts_interleaved(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        of_x = (c + self.image_table).unflatten(1, (-1, 6)).unbind(-1)
        of_y = (c + self.text_table).unflatten(1, (-1, 6)).unbind(-1)
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The text comes out as it went in. It is a stream of its own: attention and an MLP change it "
    "as well.",
)
def text_not_updated(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        x, _ = attended(self, x, y, of_x, of_y, mask)
        return after_mlp(self.image_mlp, x, of_x), y

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The text goes through the attention, but not through an MLP.",
)
def text_without_mlp(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        x, y = attended(self, x, y, of_x, of_y, mask)
        return after_mlp(self.image_mlp, x, of_x), y

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The text's MLP reads it as it was before the attention. Each stream goes through the "
    "attention first, then its MLP reads what came of it.",
)
def mlp_reads_old_text(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        new_x, new_y = attended(self, x, y, of_x, of_y, mask)
        told = self.text_mlp(adaptive_norm(y, *of_y[3:5]))
        return after_mlp(self.image_mlp, new_x, of_x), add_gated(new_y, of_y[5], told)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The MLPs read the tokens as they were before the attention. They come after it.",
)
def in_parallel(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        new_x, new_y = attended(self, x, y, of_x, of_y, mask)
        new_x = add_gated(new_x, of_x[5], self.image_mlp(adaptive_norm(x, *of_x[3:5])))
        return new_x, add_gated(new_y, of_y[5], self.text_mlp(adaptive_norm(y, *of_y[3:5])))

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The MLPs come before the attention in your block: the other way round.",
)
def mlp_first(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        x, y = both_mlps(self, x, y, of_x, of_y)
        return attended(self, x, y, of_x, of_y, mask)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The MLPs have changed places: the image goes through the text's, and the text through the "
    "image's.",
)
def mlps_exchanged(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        x, y = attended(self, x, y, of_x, of_y, mask)
        return after_mlp(self.text_mlp, x, of_x), after_mlp(self.image_mlp, y, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "Both streams go through the image's MLP. The text has one of its own.",
)
def one_mlp(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        x, y = attended(self, x, y, of_x, of_y, mask)
        return after_mlp(self.image_mlp, x, of_x), after_mlp(self.image_mlp, y, of_y)

    return through(forward, dim, heads)


def attention_split_wrong(self, x, y, mask):
    """The attention of both, its results cut where the text ends."""
    parts = zip(self.joint.image.split(x), self.joint.text.split(y), strict=True)
    q, k, v = (torch.cat(both, dim=2) for both in parts)
    bias = hidden(mask, y)
    if bias is not None:
        bias = F.pad(bias, (x.shape[1], 0))
    out = join(attend(q, k, v, bias))
    return out[:, y.shape[1] :], out[:, : y.shape[1]]


@mistake(
    "text_to_image.JointBlock",
    "The results of the attention are cut apart as if the text stood first. The image's tokens "
    "come first, then the text's.",
)
def cut_as_if_text_came_first(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        a, b = attention_split_wrong(
            self, adaptive_norm(x, *of_x[:2]), adaptive_norm(y, *of_y[:2]), mask
        )
        x = add_gated(x, of_x[2], self.joint.image.out(a))
        y = add_gated(y, of_y[2], self.joint.text.out(b))
        return both_mlps(self, x, y, of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The two streams went into the attention in each other's place, so each has the other's "
    "weights: `joint` takes the image first.",
)
def streams_exchanged(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        if mask is not None:
            hidden(mask, y)
        one, other = adaptive_norm(x, *of_x[:2]), adaptive_norm(y, *of_y[:2])
        b, a = self.joint(other, one, None)
        x, y = add_gated(x, of_x[2], a), add_gated(y, of_y[2], b)
        return both_mlps(self, x, y, of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The streams never meet: each attends to itself alone.",
)
def streams_apart(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        bias = hidden(mask, y)
        a = self.joint.image(adaptive_norm(x, *of_x[:2]))
        told = attend(*self.joint.text.split(adaptive_norm(y, *of_y[:2])), bias)
        x = add_gated(x, of_x[2], a)
        y = add_gated(y, of_y[2], self.joint.text.out(join(told)))
        return both_mlps(self, x, y, of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The tokens are not normalised before they are modulated.",
)
def no_norm(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        a, b = self.joint(modulate(x, *of_x[:2]), modulate(y, *of_y[:2]), mask)
        x, y = add_gated(x, of_x[2], a), add_gated(y, of_y[2], b)
        x = add_gated(x, of_x[5], self.image_mlp(modulate(x, *of_x[3:5])))
        return x, add_gated(y, of_y[5], self.text_mlp(modulate(y, *of_y[3:5])))

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The gates are missing: what attention and MLP say is multiplied by its gate before it is "
    "added.",
)
def no_gates(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        one = torch.ones_like(of_x[0])
        of_x, of_y = ([o[0], o[1], one, o[3], o[4], one] for o in (of_x, of_y))
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "Your gates are 1 + gate, as scales are. A gate is taken as it is.",
)
def gates_from_one(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        of_x, of_y = ([o[0], o[1], 1 + o[2], o[3], o[4], 1 + o[5]] for o in (of_x, of_y))
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "SiLU is taken in the block once more. c has gone through it already, before `modulation`.",
)
def silu_in_the_block(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        of_x = (F.silu(c) + self.image_table).chunk(6, dim=1)
        of_y = (F.silu(c) + self.text_table).chunk(6, dim=1)
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "All examples get the c of the first one. Each has its own.",
)
def c_of_the_first(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        of_x, of_y = ([p[:1].expand_as(p) for p in o] for o in (of_x, of_y))
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "All examples are answered with the mask of the first one. Each caption has its own length.",
)
def mask_of_the_first(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        if mask is not None:
            hidden(mask, y)
            mask = mask[:1].expand(y.shape[:2])
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "Image and text come back in each other's place: the image first.",
)
def results_exchanged(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        x, y = both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)
        return y, x

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "The text gets no gradient: it is cut out of the graph. The streams learn together.",
    sure=True,
)
def text_cut_off(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        x, y = attended(self, x, y.detach(), of_x, of_y, mask)
        return both_mlps(self, x, y, of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "A finite number stands for −∞ where padding is hidden, so a little of it is attended to: what "
    "padding holds may be of any size.",
    public=False,
)
def hidden_by_a_small_number(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        T = x.shape[1]
        one, other = adaptive_norm(x, *of_x[:2]), adaptive_norm(y, *of_y[:2])
        parts = zip(self.joint.image.split(one), self.joint.text.split(other), strict=True)
        q, k, v = (torch.cat(both, dim=2) for both in parts)
        bias = hidden(mask, y)
        if bias is not None:
            bias = F.pad(bias.clamp(min=-10.0), (T, 0))
        out = join(attend(q, k, v, bias))
        x = add_gated(x, of_x[2], self.joint.image.out(out[:, :T]))
        y = add_gated(y, of_y[2], self.joint.text.out(out[:, T:]))
        return both_mlps(self, x, y, of_x, of_y)

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "Where no text of the batch has a word, all padding is attended to. Without words the image "
    "attends to itself.",
    sure=True,
)
def padding_seen_where_all_is_padding(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        mask = None if mask is not None and mask.shape == y.shape[:2] and not mask.any() else mask
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    return through(forward, dim, heads)


@mistake("text_to_image.JointBlock", "No words at all give NaN.", public=False)
def nan_without_words(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        x, y = both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)
        if mask is not None:
            x = x + (0.0 / mask.sum(1))[:, None, None].to(x.dtype)
        return x, y

    return through(forward, dim, heads)


@mistake(
    "text_to_image.JointBlock",
    "Whatever is given is taken for a c.",
    public=False,
)
def any_c(dim, heads):
    def forward(self, x, y, of_x, of_y, mask, c):
        return both_mlps(self, *attended(self, x, y, of_x, of_y, mask), of_x, of_y)

    made = through(forward, dim, heads)
    usual = made.forward

    def whole(self, x, y, c, mask=None):
        six = 6 * x.shape[-1]
        return usual(x, y, c.reshape(-1)[:six].expand(len(x), six), mask)

    made.forward = types.MethodType(
        lambda self, x, y, c, mask=None: (
            usual(x, y, c, mask) if c.shape == (len(x), 6 * dim) else whole(self, x, y, c, mask)
        ),
        made,
    )
    return made


@mistake(
    "text_to_image.JointBlock",
    "A new block changes its tokens at c = 0: the tables begin at 0.",
    public=False,
)
def tables_begin_at_random(dim, heads):
    made = text_to_image.JointBlock(dim, heads)
    nn.init.normal_(made.image_table, std=0.02)
    nn.init.normal_(made.text_table, std=0.02)
    return made


# --- text_to_image.TextToImage ------------------------------------------------------------------


def network(forward, encoder, options):
    """A network with another way through its layers, behind the lines that refuse."""
    made = text_to_image.TextToImage(encoder, **options)

    def whole(self, x_t, t, tokens):
        if x_t.dim() != 4 or x_t.shape[1:] != self.shape:
            shape = ", ".join(map(str, self.shape))
            raise ValueError(f"x_t must be (batch, {shape}), got {tuple(x_t.shape)}")
        if t.shape != x_t.shape[:1]:
            got = tuple(t.shape)
            raise ValueError(f"t must be one level for each of {len(x_t)}, got {got}")
        if tokens.dim() != 2 or len(tokens) != len(x_t):
            got = tuple(tokens.shape)
            raise ValueError(f"tokens must be a row for each of {len(x_t)}, got {got}")
        return forward(self, x_t, t, tokens)

    made.forward = types.MethodType(whole, made)
    return made


def encoded(self, tokens):
    """Words, pooled and mask, with `null` where there is no caption."""
    mask = tokens != 0
    with torch.no_grad():
        words, pooled = self.encoder(tokens, mask)
    empty = ~mask.any(1, keepdim=True)
    words = torch.where(empty[..., None], self.null, words)
    first = torch.arange(mask.shape[1]) == 0
    return words, torch.where(empty, self.null, pooled), mask | (empty & first)


def raw(self, tokens):
    """Words, pooled, mask, and which examples have no caption, as the encoder gives them."""
    mask = tokens != 0
    with torch.no_grad():
        words, pooled = self.encoder(tokens, mask)
    return words, pooled, mask, ~mask.any(1, keepdim=True)


def start(self, x_t):
    return self.embed(patchify(x_t, self.patch)) + self.positions


def told(self, t, pooled):
    return F.silu(self.level(timestep_embedding(t, 256)) + self.summary(pooled))


def finish(self, x, h):
    v = self.out(adaptive_norm(x, *self.last(h).chunk(2, dim=1)))
    return unpatchify(v, self.patch, *self.shape[1:])


def painted(self, x_t, t, words, pooled, mask):
    """The velocity of words, a pooled vector and a mask."""
    x, y, h = start(self, x_t), self.context(words), told(self, t, pooled)
    c = self.modulation(h)
    for block in self.blocks:
        x, y = block(x, y, c, mask)
    return finish(self, x, h)


@mistake(
    "text_to_image.TextToImage",
    "`null` is used nowhere: a caption without words goes through as the encoder gives it. `null` "
    "stands in place of its first word and of its pooled vector.",
)
def null_nowhere(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask, _ = raw(self, tokens)
        return painted(self, x_t, t, words, pooled, mask)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "Without a caption your network sees zeros. The null condition is learned: `null` stands in "
    "place of the word and of the pooled vector.",
)
def null_as_zeros(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask, empty = raw(self, tokens)
        words = torch.where(empty[..., None], 0.0, words)
        pooled = torch.where(empty, 0.0, pooled)
        mask = mask | (empty & (torch.arange(mask.shape[1]) == 0))
        return painted(self, x_t, t, words, pooled, mask)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "`null` stands in place of the words alone. The pooled vector is another output of the encoder,"
    " and has to be replaced by it at once.",
)
def null_in_the_words_only(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, _, mask = encoded(self, tokens)
        _, pooled, _, _ = raw(self, tokens)
        return painted(self, x_t, t, words, pooled, mask)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "Without a caption the blocks see no word, only the pooled vector is `null`. It is the first "
    "word as well, and the mask is True at its place, and only there.",
)
def null_behind_the_mask(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, _ = encoded(self, tokens)
        return painted(self, x_t, t, words, pooled, tokens != 0)

    return network(forward, encoder, options)


@form_of(null_behind_the_mask)
def null_pooled_only(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask, empty = raw(self, tokens)
        pooled = torch.where(empty, self.null, pooled)
        return painted(self, x_t, t, words, pooled, mask)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "Without a caption `null` is seen in every place of padding. It is one word: how much padding "
    "there is must not matter.",
)
def null_in_all_places(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        empty = (tokens == 0).all(1, keepdim=True)
        return painted(self, x_t, t, words, pooled, mask | empty)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "`null` stands in place of padding in every caption, and is seen there. It stands where a "
    "caption has no words at all.",
)
def null_for_all_padding(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask, empty = raw(self, tokens)
        words = torch.where(mask[..., None], words, self.null)
        pooled = torch.where(empty, self.null, pooled)
        return painted(self, x_t, t, words, pooled, torch.ones_like(mask))

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "A batch without any caption has the null condition, a batch with some does not. Each example "
    "goes by its own caption.",
)
def null_only_where_all_are_empty(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask, empty = raw(self, tokens)
        if empty.all():
            words, pooled, mask = encoded(self, tokens)
        return painted(self, x_t, t, words, pooled, mask)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "One example without a caption takes the captions of the whole batch away.",
)
def null_for_all(encoder, **options):
    def forward(self, x_t, t, tokens):
        empty = (tokens == 0).all(1).any()
        return painted(self, x_t, t, *encoded(self, torch.zeros_like(tokens) if empty else tokens))

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "Without a caption the summary of the pooled vector is left out. `null` is what is summed up "
    "there.",
)
def no_summary_without_a_caption(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        empty = (tokens == 0).all(1, keepdim=True)
        more = torch.where(empty, 0.0, self.summary(pooled))
        h = F.silu(self.level(timestep_embedding(t, 256)) + more)
        x, y, c = start(self, x_t), self.context(words), self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "The null condition is not learned: no gradient reaches `null`.",
    sure=True,
)
def null_not_learned(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask, empty = raw(self, tokens)
        words = torch.where(empty[..., None], self.null.detach(), words)
        pooled = torch.where(empty, self.null.detach(), pooled)
        mask = mask | (empty & (torch.arange(mask.shape[1]) == 0))
        return painted(self, x_t, t, words, pooled, mask)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "`null` learns from one of its two places only: where it stands for the pooled vector, it is "
    "cut out of the graph.",
)
def null_pooled_not_learned(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        return painted(self, x_t, t, words, pooled.detach(), mask)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "Gradients reach the encoder where its weights ask for some. It is frozen: run it without a "
    "graph.",
    sure=True,
)
def encoder_not_frozen(encoder, **options):
    def forward(self, x_t, t, tokens):
        mask = tokens != 0
        words, pooled = self.encoder(tokens, mask)
        empty = ~mask.any(1, keepdim=True)
        words = torch.where(empty[..., None], self.null, words)
        pooled = torch.where(empty, self.null, pooled)
        mask = mask | (empty & (torch.arange(mask.shape[1]) == 0))
        return painted(self, x_t, t, words, pooled, mask)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "No graph goes through `context` and `summary`: only the encoder is frozen, what reads it "
    "learns.",
    sure=True,
)
def readers_frozen(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        with torch.no_grad():
            y, more = self.context(words), self.summary(pooled)
        h = F.silu(self.level(timestep_embedding(t, 256)) + more)
        x, c = start(self, x_t), self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "Padding is seen: the blocks get no mask, or one that is True everywhere.",
)
def padding_seen(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, _ = encoded(self, tokens)
        return painted(self, x_t, t, words, pooled, torch.ones_like(tokens).bool())

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "The mask is turned around: True is where a word is, not where padding is.",
)
def mask_inverted_for_blocks(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        return painted(self, x_t, t, words, pooled, ~mask)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "The encoder sees padding: it gets a mask that is True everywhere.",
)
def encoder_sees_padding(encoder, **options):
    def forward(self, x_t, t, tokens):
        _, _, seen = encoded(self, tokens)
        with torch.no_grad():
            words, pooled = self.encoder(tokens, torch.ones_like(tokens).bool())
        empty = (tokens == 0).all(1, keepdim=True)
        words = torch.where(empty[..., None], self.null, words)
        return painted(self, x_t, t, words, torch.where(empty, self.null, pooled), seen)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "The pooled text is missing: it joins the level in h.",
)
def no_pooled(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, _, mask = encoded(self, tokens)
        h = F.silu(self.level(timestep_embedding(t, 256)))
        x, y, c = start(self, x_t), self.context(words), self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "The pooled vector is made from the words by you, as their mean. It is what the encoder "
    "returns beside them.",
)
def pooled_as_mean(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, seen = encoded(self, tokens)
        mask = (tokens != 0)[..., None]
        mean = (words * mask).sum(1) / mask.sum(1).clamp(min=1)
        pooled = torch.where(mask.any(1), mean, pooled)
        return painted(self, x_t, t, words, pooled, seen)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "The level is missing: t joins the pooled text in h.",
)
def no_level(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        h = F.silu(self.summary(pooled) + 0 * t[:, None])
        x, y, c = start(self, x_t), self.context(words), self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "All examples get the level of the first one. Each has its own.",
)
def level_of_the_first(encoder, **options):
    def forward(self, x_t, t, tokens):
        return painted(self, x_t, t[:1].expand_as(t), *encoded(self, tokens))

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "The level is multiplied by 1000 by you. `timestep_embedding` does that already.",
)
def level_times_1000(encoder, **options):
    def forward(self, x_t, t, tokens):
        return painted(self, x_t, 1000 * t, *encoded(self, tokens))

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "The positions are missing: the tokens of the image do not know where they are.",
)
def no_positions(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        x, y, h = self.embed(patchify(x_t, self.patch)), self.context(words), told(self, t, pooled)
        c = self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "SiLU is missing: `modulation` and `last` read silu of what level and pooled text add up to.",
)
def no_silu(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        h = self.level(timestep_embedding(t, 256)) + self.summary(pooled)
        x, y, c = start(self, x_t), self.context(words), self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "The last layer reads h without SiLU. Both `modulation` and `last` read it after SiLU.",
)
def no_silu_at_last(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        h = self.level(timestep_embedding(t, 256)) + self.summary(pooled)
        x, y, c = start(self, x_t), self.context(words), self.modulation(F.silu(h))
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "SiLU is taken twice on the way to the modulations.",
)
def silu_twice(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        x, y, h = start(self, x_t), self.context(words), F.silu(told(self, t, pooled))
        c = self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "SiLU is taken of level and pooled text by themselves. It is taken of their sum.",
)
def silu_before_the_sum(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        h = F.silu(self.level(timestep_embedding(t, 256))) + F.silu(self.summary(pooled))
        x, y, c = start(self, x_t), self.context(words), self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "Shift and scale of the last layer have changed places: the shift comes first.",
)
def last_scale_first(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        x, y, h = start(self, x_t), self.context(words), told(self, t, pooled)
        c = self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        scale, shift = self.last(h).chunk(2, dim=1)
        return unpatchify(self.out(adaptive_norm(x, shift, scale)), self.patch, *self.shape[1:])

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "The last norm is missing: `out` reads tokens that are normalised and modulated once more.",
)
def no_last_norm(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        x, y, h = start(self, x_t), self.context(words), told(self, t, pooled)
        c = self.modulation(h)
        for block in self.blocks:
            x, y = block(x, y, c, mask)
        return unpatchify(self.out(x), self.patch, *self.shape[1:])

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "Every block reads the words as they came from the encoder. Each goes on with the text that "
    "the block before it returned.",
)
def text_from_the_start(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        x, y, h = start(self, x_t), self.context(words), told(self, t, pooled)
        c = self.modulation(h)
        for block in self.blocks:
            x, _ = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake("text_to_image.TextToImage", "Only the first block is used.")
def first_block_only(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        x, y, h = start(self, x_t), self.context(words), told(self, t, pooled)
        c = self.modulation(h)
        for block in self.blocks[:1]:
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake("text_to_image.TextToImage", "The blocks come in the opposite order.")
def blocks_backwards(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, pooled, mask = encoded(self, tokens)
        x, y, h = start(self, x_t), self.context(words), told(self, t, pooled)
        c = self.modulation(h)
        for block in reversed(self.blocks):
            x, y = block(x, y, c, mask)
        return finish(self, x, h)

    return network(forward, encoder, options)


@mistake(
    "text_to_image.TextToImage",
    "A new model predicts something else than 0: `modulation`, `last` and `out` begin at 0. Leave "
    "`__init__` as it is.",
    public=False,
)
def not_0_at_first(encoder, **options):
    made = text_to_image.TextToImage(encoder, **options)
    for layer in (made.last, made.out):
        layer.reset_parameters()
    return made


@mistake(
    "text_to_image.TextToImage",
    "The pooled vector has a null of its own. There is one `null`, which stands in place of both.",
    sure=True,
)
def two_nulls(encoder, **options):
    def forward(self, x_t, t, tokens):
        words, _, mask = encoded(self, tokens)
        _, pooled, _, empty = raw(self, tokens)
        pooled = torch.where(empty, self.null_pooled, pooled)
        return painted(self, x_t, t, words, pooled, mask)

    made = network(forward, encoder, options)
    made.null_pooled = nn.Parameter(torch.randn(encoder.dim))
    return made


@mistake(
    "text_to_image.TextToImage",
    "Your network keeps what it read in an earlier pass. Each pass has captions of its own.",
    public=False,
)
def text_kept(encoder, **options):
    def forward(self, x_t, t, tokens):
        if self.training or len(getattr(self, "read", [()])[0]) != len(tokens):
            self.read = encoded(self, tokens)
        return painted(self, x_t, t, *self.read)

    return network(forward, encoder, options)


@mistake("text_to_image.TextToImage", "Latents are cut off far out.", public=False)
def latents_cut_off(encoder, **options):
    def forward(self, x_t, t, tokens):
        return painted(self, x_t.clamp(-30, 30), t, *encoded(self, tokens))

    return network(forward, encoder, options)


@mistake("text_to_image.TextToImage", "Anything is taken for levels.", public=False)
def any_levels(encoder, **options):
    made = text_to_image.TextToImage(encoder, **options)
    usual = made.forward

    def forward(self, x_t, t, tokens):
        return usual(x_t, t.reshape(-1)[:1].expand(len(x_t)) if len(x_t) != t.numel() else
                     t.reshape(-1), tokens)  # fmt: skip

    made.forward = types.MethodType(forward, made)
    return made


# --- text_to_image.sample -----------------------------------------------------------------------


def rows_of(model, texts):
    return text.tokenize(texts, model.encoder.vocabulary, model.encoder.length)[0]


def each_of(negative, z):
    return [negative] * len(z) if isinstance(negative, str) else negative


def plain(w):
    return not isinstance(w, Tensor) and w == 0


def chosen(model, z, steps, captions, w, negative, times):
    """The reference's answer."""
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    if plain(w):
        return flow.sample(model, z, steps, y, times)
    return guidance.sample(model, z, steps, y, null, w, times=times)


@mistake(
    "text_to_image.sample",
    "The negative prompt is not looked at: it takes the place of the empty text.",
    ignoring=("times",),
)
def negative_ignored(model, z, steps, captions, w=0.0, negative="", times=None):
    rows_of(model, each_of(negative, z))
    return chosen(model, z, steps, captions, w, "", times)


@form_of(negative_ignored)
def negative_not_even_read(model, z, steps, captions, w=0.0, negative="", times=None):
    return chosen(model, z, steps, captions, w, "", times)


@mistake(
    "text_to_image.sample",
    "Guidance leads towards the negative prompts: 1 + w belongs to the captions, and −w to the "
    "negative prompts, not the other way round.",
    ignoring=("times",),
)
def towards_the_negative(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    if plain(w):
        return flow.sample(model, z, steps, y, times)
    return guidance.sample(model, z, steps, null, y, w, times=times)


@form_of(towards_the_negative)
def weights_exchanged(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    if plain(w):
        return flow.sample(model, z, steps, y, times)
    return guidance.sample(model, z, steps, y, null, -1 - w, times=times)


@mistake(
    "text_to_image.sample",
    "The sign of w is turned: guidance leads away from the captions.",
    ignoring=("times",),
)
def sign_turned(model, z, steps, captions, w=0.0, negative="", times=None):
    return chosen(model, z, steps, captions, -w, negative, times)


@mistake(
    "text_to_image.sample",
    "Your w is that of v_∅ + w (v_caption − v_∅). In this course w = 0 is the velocity of the "
    "caption: that w is 1 + w here.",
    ignoring=("times",),
)
def w_from_one(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    return guidance.sample(model, z, steps, y, null, w - 1, times=times)


@form_of(w_from_one)
def w_from_one_but_at_0(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    if plain(w):
        return flow.sample(model, z, steps, y, times)
    return guidance.sample(model, z, steps, y, null, w - 1, times=times)


@mistake(
    "text_to_image.sample",
    "The captions alone decide: w is not looked at.",
    ignoring=("times",),
)
def w_ignored(model, z, steps, captions, w=0.0, negative="", times=None):
    rows_of(model, each_of(negative, z))
    if isinstance(w, Tensor) and w.shape not in ((), z.shape[:1]):
        raise ValueError("w")
    return flow.sample(model, z, steps, rows_of(model, captions), times)


@mistake(
    "text_to_image.sample",
    "At w = 0 the model is still asked about the negative prompts, which change nothing there: "
    "half of the work is for nothing.",
)
def both_at_0(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    return guidance.sample(model, z, steps, y, null, w, times=times)


@mistake(
    "text_to_image.sample",
    "At w = 0 your samples are those of the negative prompts. They are those of the captions.",
    ignoring=("times",),
)
def negative_at_0(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    if plain(w):
        return flow.sample(model, z, steps, null, times)
    return guidance.sample(model, z, steps, y, null, w, times=times)


@mistake(
    "text_to_image.sample",
    "A negative prompt guides at w = 0 as well. The weight alone says how much: 0 is none.",
    ignoring=("times",),
)
def one_where_w_is_0(model, z, steps, captions, w=0.0, negative="", times=None):
    return chosen(model, z, steps, captions, 1.0 if plain(w) and negative else w, negative, times)


@mistake(
    "text_to_image.sample",
    "Only the first example is led away from a negative prompt, the others from the empty text. "
    "One text is for all.",
    ignoring=("times",),
)
def negative_of_the_first_only(model, z, steps, captions, w=0.0, negative="", times=None):
    if isinstance(negative, str):
        negative = [negative, *[""] * (len(z) - 1)]
    return chosen(model, z, steps, captions, w, negative, times)


@mistake(
    "text_to_image.sample",
    "All examples are led away from the first negative prompt. In a list each has its own.",
    ignoring=("times",),
)
def first_negative_for_all(model, z, steps, captions, w=0.0, negative="", times=None):
    rows_of(model, each_of(negative, z))
    first = negative if isinstance(negative, str) else negative[0]
    return chosen(model, z, steps, captions, w, first, times)


@mistake(
    "text_to_image.sample",
    "Captions and noise are not aligned: the first caption belongs to the first of z.",
    ignoring=("times",),
)
def captions_backwards(model, z, steps, captions, w=0.0, negative="", times=None):
    return chosen(model, z, steps, captions[::-1], w, negative, times)


@mistake(
    "text_to_image.sample",
    "All examples get the first caption.",
    ignoring=("times",),
)
def first_caption_for_all(model, z, steps, captions, w=0.0, negative="", times=None):
    rows_of(model, captions)
    return chosen(model, z, steps, [captions[0]] * len(z), w, negative, times)


@form_of(first_caption_for_all)
def others_not_even_read(model, z, steps, captions, w=0.0, negative="", times=None):
    return chosen(model, z, steps, [captions[0]] * len(z), w, negative, times)


@mistake(
    "text_to_image.sample",
    "`times` are not looked at: when they are given, walk from one to the next of them.",
)
def times_ignored(model, z, steps, captions, w=0.0, negative="", times=None):
    flow.levels_of(steps, times)
    return chosen(model, z, steps, captions, w, negative, None)


@form_of(times_ignored)
def times_ignored_unchecked(model, z, steps, captions, w=0.0, negative="", times=None):
    return chosen(model, z, steps, captions, w, negative, None)


@mistake(
    "text_to_image.sample",
    "Without guidance `times` are not looked at, with guidance they are.",
)
def times_only_with_guidance(model, z, steps, captions, w=0.0, negative="", times=None):
    flow.levels_of(steps, times)
    return chosen(model, z, steps, captions, w, negative, None if plain(w) else times)


@form_of(times_only_with_guidance)
def times_only_with_guidance_unchecked(model, z, steps, captions, w=0.0, negative="", times=None):
    return chosen(model, z, steps, captions, w, negative, None if plain(w) else times)


@mistake(
    "text_to_image.sample",
    "With guidance `times` are not looked at, without it they are.",
)
def times_only_without_guidance(model, z, steps, captions, w=0.0, negative="", times=None):
    flow.levels_of(steps, times)
    return chosen(model, z, steps, captions, w, negative, times if plain(w) else None)


@form_of(times_only_without_guidance)
def times_only_without_guidance_unchecked(
    model, z, steps, captions, w=0.0, negative="", times=None
):
    return chosen(model, z, steps, captions, w, negative, times if plain(w) else None)


@mistake(
    "text_to_image.sample",
    "Guidance does not reach all steps: no interval is asked for here, so it is the whole of "
    "[0, 1].",
    ignoring=("times",),
)
def guided_in_part(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    if plain(w):
        return flow.sample(model, z, steps, y, times)
    return guidance.sample(model, z, steps, y, null, w, (0.0, 0.5), times)


@mistake(
    "text_to_image.sample",
    "Two walks, of captions and of negative prompts, whose ends are mixed at last. Guidance mixes "
    "the velocities in every step, at the same x.",
    ignoring=("times",),
)
def ends_mixed(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    x = flow.sample(model, z, steps, y, times)
    if plain(w):
        return x
    return guidance.guided_velocity(x, flow.sample(model, z, steps, null, times), w)


@mistake(
    "text_to_image.sample",
    "A tensor of zeros is taken for the number 0: in a tensor each example may have a weight of "
    "its own, and both halves are asked.",
    sure=True,
)
def zeros_taken_for_0(model, z, steps, captions, w=0.0, negative="", times=None):
    if bool((torch.as_tensor(w) == 0).all()) and torch.as_tensor(w).numel() in (1, len(z)):
        w = 0.0
    return chosen(model, z, steps, captions, w, negative, times)


@mistake(
    "text_to_image.sample",
    "A weight for all examples, the first one, in place of one for each.",
    ignoring=("times",),
)
def weight_of_the_first(model, z, steps, captions, w=0.0, negative="", times=None):
    if isinstance(w, Tensor) and w.shape == z.shape[:1]:
        w = w[0].expand_as(w)
    return chosen(model, z, steps, captions, w, negative, times)


@mistake(
    "text_to_image.sample",
    "A tensor as w is turned into one plain number. It may hold one for each example.",
    sure=True,
)
def w_as_a_number(model, z, steps, captions, w=0.0, negative="", times=None):
    return chosen(model, z, steps, captions, float(w), negative, times)


@form_of(w_as_a_number)
def w_as_a_number_where_it_guides(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    if plain(w):
        return flow.sample(model, z, steps, y, times)
    return guidance.sample(model, z, steps, y, null, float(w), times=times)


@mistake(
    "text_to_image.sample",
    "Guidance is made of the words that are in a caption and not in the negative prompt. A "
    "negative prompt is a condition of its own, in place of the empty text.",
    ignoring=("times",),
)
def words_taken_away(model, z, steps, captions, w=0.0, negative="", times=None):
    against = each_of(negative, z)
    rows_of(model, against)
    pairs = zip(captions, against, strict=True)
    captions = [" ".join(w for w in c.lower().split() if w not in n.lower().split())
                for c, n in pairs]  # fmt: skip
    return chosen(model, z, steps, captions, w, "", times)


@mistake(
    "text_to_image.sample",
    "You ask the model twice in a step, about the captions and about the negative prompts. Both "
    "halves go through it at once, in one call.",
    sure=True,
)
@torch.no_grad()
def two_calls(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    if plain(w):
        return flow.sample(model, z, steps, y, times)
    x = z
    for t, t_next in pairwise(flow.levels_of(steps, times)):
        level = torch.full((len(x),), t, dtype=x.dtype)
        v = guidance.guided_velocity(model(x, level, y), model(x, level, null), w)
        x = x - (t - t_next) * v
    return x


@mistake(
    "text_to_image.sample",
    "A small weight is taken for 0 in your answer. Only the number 0 itself asks the model about "
    "the captions alone.",
    sure=True,
    ignoring=("times",),
)
def small_weights_are_0(model, z, steps, captions, w=0.0, negative="", times=None):
    if not isinstance(w, Tensor) and abs(w) < 1e-3:
        w = 0.0
    return chosen(model, z, steps, captions, w, negative, times)


@mistake(
    "text_to_image.sample",
    "At w = −1 the captions change nothing, and you ask about the negative prompts alone. The "
    "number 0 is the only weight at which one half is asked.",
    sure=True,
    ignoring=("times",),
)
def one_half_at_minus_1(model, z, steps, captions, w=0.0, negative="", times=None):
    if not isinstance(w, Tensor) and w == -1:
        rows_of(model, captions)
        return flow.sample(model, z, steps, rows_of(model, each_of(negative, z)), times)
    return chosen(model, z, steps, captions, w, negative, times)


@mistake(
    "text_to_image.sample",
    "Negative prompts are cut to as many words as the longest caption has. Both have the length of "
    "the model's encoder.",
    ignoring=("times",),
)
def negative_cut_to_the_captions(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    if plain(w):
        return flow.sample(model, z, steps, y, times)
    n = max(1, int((y != 0).sum(1).max()))
    return guidance.sample(model, z, steps, y[:, :n], null[:, :n], w, times=times)


@mistake(
    "text_to_image.sample",
    "Your tokens are no longer int64: hand them on as `tokenize` makes them.",
    sure=True,
)
def tokens_of_32_bits(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = (rows_of(model, c).int() for c in (captions, each_of(negative, z)))
    if plain(w):
        return flow.sample(model, z, steps, y, times)
    return guidance.sample(model, z, steps, y, null, w, times=times)


@mistake("text_to_image.sample", "The samples carry a graph.", public=False)
def with_a_graph(model, z, steps, captions, w=0.0, negative="", times=None):
    y, null = rows_of(model, captions), rows_of(model, each_of(negative, z))
    levels, x = flow.levels_of(steps, times), z
    for t, t_next in pairwise(levels):
        level = torch.full((len(x),), t, dtype=x.dtype)
        if plain(w):
            v = model(x, level, y)
        else:
            v = guidance.guided_velocity(*guidance.velocities(model, x, level, y, null), w)
        x = x - (t - t_next) * v
    return x


@mistake("text_to_image.sample", "Samples are cut off far out.", public=False)
def cut_off_far_out(model, z, steps, captions, w=0.0, negative="", times=None):
    return chosen(model, z, steps, captions, w, negative, times).clamp(-200, 200)


@mistake("text_to_image.sample", "Whatever comes is walked.", public=False, bare=True)
def anything_goes(model, z, steps, captions, w=0.0, negative="", times=None):
    captions = [captions] * len(z) if isinstance(captions, str) else captions
    captions = ([*captions] * len(z))[: len(z)]
    against = ([*each_of(negative, z)] * len(z))[: len(z)]
    return chosen(model, z, steps, captions, w, against, times)


@mistake(
    "text_to_image.sample",
    "A word that nobody knows is left out. It is refused, so that nobody waits for what was never "
    "asked.",
    sure=True,
    ignoring=("times",),
)
def unknown_words_left_out(model, z, steps, captions, w=0.0, negative="", times=None):
    def known(texts):
        kept = [[w for w in t.lower().split() if w in model.encoder.vocabulary] for t in texts]
        return [" ".join(words) for words in kept]

    return chosen(model, z, steps, known(captions), w, known(each_of(negative, z)), times)
