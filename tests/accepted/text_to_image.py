"""Right answers to chapter 10's network written another way."""

import math
import types

import torch
from torch.nn import functional as F

from cs231n_gen import flow, guidance, text, text_to_image
from cs231n_gen.checking.variants import accepted
from cs231n_gen.dit_tokens import patchify, timestep_embedding, unpatchify


def fits(model, z, steps, captions, w=0.0, negative="", times=None):
    if isinstance(captions, str) or len(captions) != len(z):
        raise ValueError("captions must be a list, one for each of z")
    if not isinstance(negative, str) and len(negative) != len(z):
        raise ValueError("negative must be one text, or one for each of z")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {"text_to_image.sample": fits}

# --- text_to_image.JointBlock -------------------------------------------------------------------


def through(forward, dim, heads):
    """A block with another way through its layers, behind the line that refuses."""
    made = text_to_image.JointBlock(dim, heads)

    def whole(self, x, y, c, mask=None):
        if c.shape != (len(x), 6 * x.shape[-1]):
            raise ValueError(f"c must be (batch, 6 · dim), got {tuple(c.shape)}")
        return forward(self, x, y, c, mask)

    made.forward = types.MethodType(whole, made)
    return made


@accepted("text_to_image.JointBlock")
def parts_by_view(dim, heads):
    def forward(self, x, y, c, mask):
        i = (self.image_table + c).view(len(c), 6, 1, dim).unbind(1)
        k = (self.text_table + c).view(len(c), 6, 1, dim).unbind(1)
        one = F.layer_norm(x, (dim,), eps=1e-6) * (1 + i[1]) + i[0]
        other = F.layer_norm(y, (dim,), eps=1e-6) * (1 + k[1]) + k[0]
        one, other = self.joint(one, other, mask=mask)
        x = x + i[2] * one
        y = y + k[2] * other
        x = x + i[5] * self.image_mlp(F.layer_norm(x, (dim,), eps=1e-6) * (1 + i[4]) + i[3])
        y = y + k[5] * self.text_mlp(F.layer_norm(y, (dim,), eps=1e-6) * (1 + k[4]) + k[3])
        return x, y

    return through(forward, dim, heads)


@accepted("text_to_image.JointBlock")
def attention_by_hand(dim, heads):
    def norm(x):
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def forward(self, x, y, c, mask):
        if mask is None:
            mask = torch.ones(y.shape[:2], dtype=torch.bool)
        if mask.dtype != torch.bool or mask.shape != y.shape[:2]:
            raise ValueError("mask must be one truth value for each token of the text")
        streams, parts = [x, y], []
        tables = (c + self.image_table, c + self.text_table)
        six = [t[:, None].split(dim, -1) for t in tables]
        layers = (self.joint.image, self.joint.text)
        for tokens, of, layer in zip(streams, six, layers, strict=True):
            qkv = layer.qkv(norm(tokens) * (of[1] + 1) + of[0])
            parts.append(qkv.view(*qkv.shape[:2], 3, heads, dim // heads))
        q, k, v = torch.cat(parts, 1).permute(2, 0, 3, 1, 4)
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(dim // heads)
        seen = torch.cat([torch.ones_like(x[..., 0], dtype=torch.bool), mask], 1)
        p = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1)
        out = torch.einsum("bhqk,bhkd->bqhd", p, v).flatten(2)
        cut = out.split([x.shape[1], y.shape[1]], 1)
        found = []
        for tokens, of, told, layer, mlp in zip(
            streams, six, cut, layers, (self.image_mlp, self.text_mlp), strict=True
        ):
            h = tokens + of[2] * layer.out(told)
            found.append(h + of[5] * mlp(norm(h) * (of[4] + 1) + of[3]))
        return tuple(found)

    return through(forward, dim, heads)


@accepted("text_to_image.JointBlock")
def example_by_example(dim, heads):
    """Each example with its own words alone; rows of padding stay as they were."""

    def forward(self, x, y, c, mask):
        if mask is not None and (mask.shape != y.shape[:2] or mask.dtype != torch.bool):
            raise ValueError("mask must be one truth value for each token of the text")
        usual, xs, ys = text_to_image.JointBlock.forward, [], []
        for n in range(len(x)):
            seen = torch.ones(y.shape[1], dtype=torch.bool) if mask is None else mask[n]
            one, other = usual(self, x[n : n + 1], y[n : n + 1, seen], c[n : n + 1])
            xs.append(one)
            ys.append(y[n : n + 1].masked_scatter(seen[None, :, None], other))
        return torch.cat(xs), torch.cat(ys)

    return through(forward, dim, heads)


@accepted("text_to_image.JointBlock")
def in_lists(dim, heads):
    """Both streams in a loop; a list in place of a tuple, and padding set to 0."""

    def forward(self, x, y, c, mask):
        both = [x, y]
        of = [(c + t).tensor_split(6, 1) for t in (self.image_table, self.text_table)]

        def read(k, at):
            h = F.layer_norm(both[k], (dim,), eps=1e-6)
            return torch.addcmul(of[k][at].unsqueeze(1), h, 1 + of[k][at + 1].unsqueeze(1))

        told = self.joint(read(0, 0), read(1, 0), mask)
        both = [both[k] + of[k][2].unsqueeze(1) * told[k] for k in (0, 1)]
        mlps = (self.image_mlp, self.text_mlp)
        both = [both[k] + of[k][5].unsqueeze(1) * mlps[k](read(k, 3)) for k in (0, 1)]
        if mask is not None:
            both[1] = both[1] * mask.unsqueeze(-1)
        return both

    return through(forward, dim, heads)


# --- text_to_image.TextToImage ------------------------------------------------------------------


def network(forward, encoder, options):
    """A network with another way through its layers, behind the lines that refuse."""
    made = text_to_image.TextToImage(encoder, **options)

    def whole(self, x_t, t, tokens):
        fit = x_t.dim() == 4 and x_t.shape[1:] == self.shape and t.shape == x_t.shape[:1]
        if not fit or tokens.dim() != 2 or len(tokens) != len(x_t):
            raise ValueError("x_t, t and tokens must fit")
        return forward(self, x_t, t, tokens)

    made.forward = types.MethodType(whole, made)
    return made


def painted(self, x_t, t, words, pooled, mask):
    x = self.positions + self.embed(patchify(x_t, self.patch))
    y = self.context(words)
    h = F.silu(self.summary(pooled) + self.level(timestep_embedding(t, 256)))
    for block in self.blocks:
        x, y = block(x, y, self.modulation(h), mask=mask)
    shift, scale = self.last(h)[:, None].chunk(2, dim=-1)
    x = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift
    return unpatchify(self.out(x), self.patch, *x_t.shape[2:])


@accepted("text_to_image.TextToImage")
def null_by_a_product(encoder, **options):
    """Detached in place of no_grad, and sums of products in place of where."""

    def forward(self, x_t, t, tokens):
        mask = tokens > 0
        words, pooled = (v.detach() for v in self.encoder(tokens, mask))
        empty = (mask.sum(1) == 0).to(x_t.dtype)[:, None]
        first = torch.zeros_like(words[..., :1])
        first[:, 0] = empty
        words = words + first * self.null  # the encoder's words are 0 there
        pooled = (1 - empty) * pooled + empty * self.null
        return painted(self, x_t, t, words, pooled, mask | (first[..., 0] > 0))

    return network(forward, encoder, options)


@accepted("text_to_image.TextToImage")
def captions_alone_to_the_encoder(encoder, **options):
    """Only examples with a caption are encoded; null is written in by index."""

    def forward(self, x_t, t, tokens):
        mask = tokens.ne(0)
        told = mask.any(dim=1)
        words = x_t.new_zeros(*tokens.shape, len(self.null))
        pooled = self.null.repeat(len(tokens), 1)
        if told.any():
            with torch.no_grad():
                found = self.encoder(tokens[told], mask[told])
            words[told], pooled = found[0], pooled.index_put((told,), found[1])
        words[~told, 0], mask[~told, 0] = self.null, True
        return painted(self, x_t, t, words, pooled, mask)

    return network(forward, encoder, options)


@accepted("text_to_image.TextToImage")
def null_as_a_place_of_its_own(encoder, **options):
    """Null stands before the words, and is hidden where there is a caption."""

    def forward(self, x_t, t, tokens):
        mask = tokens != 0
        with torch.inference_mode():
            words, pooled = self.encoder(tokens, mask)
        words, pooled = words.clone(), pooled.clone()
        empty = ~mask.any(1, keepdim=True)
        first = self.null.expand(len(tokens), 1, -1)
        words = torch.cat([first, words], 1)
        pooled = torch.where(empty, self.null, pooled)
        return painted(self, x_t, t, words, pooled, torch.cat([empty, mask], 1))

    return network(forward, encoder, options)


@accepted("text_to_image.TextToImage")
def two_groups(encoder, **options):
    """With and without a caption are two batches."""

    def forward(self, x_t, t, tokens):
        empty, v = (tokens == 0).all(1), torch.empty_like(x_t)
        if empty.any():
            n = int(empty.sum())
            null = self.null.expand(n, -1)
            v = v.index_put(
                (empty,), painted(self, x_t[empty], t[empty], null[:, None], null, None)
            )
        if not empty.all():
            told = ~empty
            with torch.no_grad():
                words, pooled = self.encoder(tokens[told], mask=tokens[told] != 0)
            mine = painted(self, x_t[told], t[told], words, pooled, tokens[told] != 0)
            v = v.index_put((told,), mine)
        return v

    return network(forward, encoder, options)


@accepted("text_to_image.TextToImage")
def no_more_padding_than_needed(encoder, **options):
    """Columns that are padding everywhere are cut off."""

    def forward(self, x_t, t, tokens):
        longest = max(1, int((tokens != 0).sum(1).max()))
        return text_to_image.TextToImage.forward(self, x_t, t, tokens[:, :longest])

    return network(forward, encoder, options)


# --- text_to_image.sample -----------------------------------------------------------------------


@accepted("text_to_image.sample")
def one_walk(model, z, steps, captions, w=0.0, negative="", times=None):
    encoder = model.encoder
    if isinstance(negative, str):
        null, _ = text.tokenize([negative], encoder.vocabulary, encoder.length)
        null = null[0]  # one condition for all
    else:
        null = text.tokenize(negative, encoder.vocabulary, encoder.length)[0]
    y = text.tokenize(captions, encoder.vocabulary, encoder.length)[0]
    if isinstance(w, (int, float)) and w == 0:
        nowhere = (2.0, 3.0)  # chapter 05's interval: no level is in it
        return guidance.sample(model, z, steps, y, null, 1.0, nowhere, times)
    return guidance.sample(model, z, steps, y, null, w, times=times)


@accepted("text_to_image.sample")
@torch.no_grad()
def steps_by_hand(model, z, steps, captions, w=0.0, negative="", times=None):
    against = [negative for _ in captions] if isinstance(negative, str) else [*negative]
    said = text.tokenize([*captions, *against], model.encoder.vocabulary, model.encoder.length)[0]
    levels, x, guided = flow.levels_of(steps, times), z.clone(), isinstance(w, torch.Tensor) or w
    weight = torch.as_tensor(w, dtype=z.dtype)
    if weight.dim() > 1 or (weight.dim() and len(weight) != len(z)):
        raise ValueError("w must be one number or one for each")
    weight = weight.reshape(-1, *[1] * (z.dim() - 1)) if weight.dim() else weight
    for i in range(steps):
        t = torch.full((len(z),), levels[i], dtype=z.dtype)
        if guided is w and not isinstance(w, torch.Tensor) and w == 0:
            v = model(x, t, said[: len(z)])
        else:
            v, other = model(torch.cat([x, x]), t.repeat(2), said).chunk(2)
            v = v + weight * (v - other)
        x -= (levels[i] - levels[i + 1]) * v
    return x


@accepted("text_to_image.sample")
def own_words(model, z, steps, captions, w=0.0, negative="", times=None):
    """Words are looked up by itself; negatives only where they count."""
    number = {word: n for n, word in enumerate(model.encoder.vocabulary) if n}

    def rows(texts):
        found = torch.zeros(len(z), model.encoder.length, dtype=torch.long)
        for row, words in zip(found, (t.casefold().split() for t in texts), strict=True):
            if len(words) > len(row) or not all(word in number for word in words):
                raise ValueError(f"unknown words, or too many: {' '.join(words)}")
            for k, word in enumerate(words):
                row[k] = number[word]
        return found

    if not torch.is_tensor(w) and not w:
        return flow.sample(model, z, steps, y=rows(captions), times=times)
    null = rows([negative] * len(z) if isinstance(negative, str) else negative)
    return guidance.sample(model, z, steps, rows(captions), null, w=w, times=times)
