"""Right answers to chapter 10's texts written another way."""

import math
import re
import types

import torch
from torch.nn import functional as F

from cs231n_gen import text
from cs231n_gen.checking.variants import accepted


def several_texts(captions, vocabulary, length):
    if isinstance(captions, str) or not len(captions):
        raise ValueError("captions must be a list of texts, at least one")


def same_dim(images, texts, log_scale):
    if images.dim() != 2 or texts.dim() != 2 or images.shape[1] != texts.shape[1]:
        raise ValueError("images and texts must be (n, dim) and (m, dim)")


def square(scores):
    if scores.dim() != 2 or scores.shape[0] != scores.shape[1] or not len(scores):
        raise ValueError("scores must be (n, n), n at least 1")


def positive(height, width, downsampling, patch, words=0):
    if min(height, width, downsampling, patch) <= 0 or words < 0:
        raise ValueError("sides, downsampling and patch must be positive, words not less than 0")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "text.tokenize": several_texts,
    "text.similarity": same_dim,
    "text.contrastive_loss": square,
    "text.token_count": positive,
}

# --- text.tokenize ------------------------------------------------------------------------------


@accepted("text.tokenize")
def lists_that_are_filled_up(captions, vocabulary, length):
    known = [*vocabulary][1:]
    rows = []
    for caption in captions:
        words = re.findall(r"\S+", caption.lower())
        for word in words:
            if word not in known:
                raise ValueError(f"unknown word: {word}")
        if len(words) > length:
            raise ValueError(f"{len(words)} words are more than {length}")
        rows.append([1 + known.index(w) for w in words] + [0] * (length - len(words)))
    tokens = torch.tensor(rows, dtype=torch.long)
    return tokens, tokens > 0


@accepted("text.tokenize")
def mask_by_counting(captions, vocabulary, length):
    found = [caption.strip().casefold().split() for caption in captions]
    counts = torch.tensor([len(words) for words in found])
    if counts.max() > length:
        raise ValueError(f"at most {length} words, got {int(counts.max())}")
    if unknown := {w for words in found for w in words} - {*vocabulary[1:]}:
        raise ValueError(f"not in the vocabulary: {', '.join(sorted(unknown))}")
    mask = torch.arange(length) < counts[:, None]
    tokens = torch.zeros(mask.shape, dtype=torch.int64)
    tokens[mask] = torch.tensor(
        [vocabulary.index(w) for words in found for w in words], dtype=torch.int64
    )
    return [tokens, mask]


@accepted("text.tokenize")
def errors_of_a_dictionary_explained(captions, vocabulary, length):
    number = dict(zip(vocabulary[1:], range(1, len(vocabulary)), strict=True))
    tokens = torch.zeros((len(captions), length)).long()
    mask = torch.zeros((len(captions), length)).bool()
    for n, caption in enumerate(captions):
        for i, word in enumerate(caption.lower().split()):
            if i >= length:
                count = len(caption.split())
                raise ValueError(f"{caption} has {count} words, {length} are allowed")
            try:
                tokens[n, i] = number[word]
            except KeyError:
                raise ValueError(f"I do not know the word {word!r}") from None
            mask[n, i] = True
    return tokens, mask


# --- text.TextEncoder ---------------------------------------------------------------------------


def walking(forward, args, options):
    """The reference's encoder with another way through its layers, behind the lines above the
    gap."""
    made = text.TextEncoder(*args, **options)
    usual = made.forward

    def checked(self, tokens, mask):
        n = tokens.shape[1] if tokens.dim() == 2 else 0
        if not 1 <= n <= self.length or mask.shape != tokens.shape or mask.dtype != torch.bool:
            return usual(tokens, mask)
        return forward(self, tokens, mask)

    made.forward = types.MethodType(checked, made)
    return made


@accepted("text.TextEncoder")
def caption_by_caption(*args, **options):
    def forward(self, tokens, mask):
        words, whole = [], []
        for row, is_word in zip(tokens, mask, strict=True):
            h = self.word(row)[None] + self.place(torch.arange(len(row)))[None]
            for block in self.blocks:
                h = block(h, is_word[None])
            h = torch.where(is_word[:, None], self.norm(h)[0], 0.0)
            mean = h[is_word].mean(0) if is_word.any() else torch.zeros_like(h[0])
            words.append(h)
            whole.append(self.out(mean))
        return torch.stack(words), torch.stack(whole)

    return walking(forward, args, options)


@accepted("text.TextEncoder")
def mean_by_weights(*args, **options):
    def forward(self, tokens, mask):
        h = F.embedding(tokens, self.word.weight)
        h = h + self.place.weight.narrow(0, 0, tokens.shape[1]).unsqueeze(0)
        for n in range(len(self.blocks)):
            h = self.blocks[n](h, mask)
        words = self.norm(h).masked_fill(~mask.unsqueeze(-1), 0)
        w = mask.to(words.dtype)
        w = w / torch.where(mask.any(1), mask.sum(1), 1)[:, None]
        return words, self.out(torch.einsum("bn,bnd->bd", w, words))

    return walking(forward, args, options)


@accepted("text.TextEncoder")
def padding_is_0_from_the_start(*args, **options):
    def forward(self, tokens, mask):
        is_word = mask[:, :, None]
        h = (self.word(tokens) + self.place.weight[None, : tokens.size(1)]) * is_word
        for block in self.blocks:
            h = block(h, mask) * is_word
        words = self.norm(h) * is_word
        sums, count = words.sum(dim=1), is_word.sum(dim=1)
        return [words, self.out(sums / count.clamp_min(1))]

    return walking(forward, args, options)


@accepted("text.TextEncoder")
def out_before_the_mean(*args, **options):
    def forward(self, tokens, mask):
        h = self.word(tokens) + self.place.weight[: tokens.shape[1]]
        for block in self.blocks:
            h = block(h, mask)
        words = self.norm(h) * mask[..., None].to(h.dtype)
        moved = (words @ self.out.weight.T).sum(1)
        return words, moved / mask.sum(1).clamp(min=1)[:, None] + self.out.bias

    return walking(forward, args, options)


@accepted("text.TextEncoder")
def words_alone(*args, **options):
    """Nothing is computed of padding: its zeros carry no graph."""

    def forward(self, tokens, mask):
        words, means = [], []
        for row, is_word in zip(tokens, mask, strict=True):
            columns = is_word.nonzero()[:, 0]
            h = (self.word(row[columns]) + self.place(columns))[None]
            zeros = self.place.weight.new_zeros(len(row), h.shape[-1])
            if not len(columns):
                words.append(zeros)
                means.append(zeros[0])
                continue
            for block in self.blocks:
                h = block(h, is_word[None, columns])
            h = self.norm(h)[0]
            words.append(zeros.index_copy(0, columns, h))
            means.append(h.mean(0))
        return torch.stack(words), self.out(torch.stack(means))

    return walking(forward, args, options)


# --- text.similarity ----------------------------------------------------------------------------


@accepted("text.similarity")
def by_cosine_similarity(images, texts, log_scale):
    cosine = F.cosine_similarity(images[:, None], texts[None], dim=2)
    return cosine * (log_scale.exp() if torch.is_tensor(log_scale) else math.exp(log_scale))


@accepted("text.similarity")
def lengths_by_hand(images, texts, log_scale):
    scale = torch.exp(torch.as_tensor(log_scale, dtype=images.dtype))
    lengths = torch.outer(images.square().sum(1).sqrt(), texts.square().sum(1).sqrt())
    return scale * torch.einsum("nd,md->nm", images, texts) / lengths


@accepted("text.similarity")
def e_to_the_power(images, texts, log_scale):
    u = images / images.norm(dim=-1, keepdim=True)
    v = texts / torch.linalg.vector_norm(texts, dim=-1, keepdim=True)
    return math.e**log_scale * (u @ v.mT)


@accepted("text.similarity")
def numbers_become_float32(images, texts, log_scale):
    u, v = (x / x.square().sum(1, keepdim=True).sqrt() for x in (images, texts))
    return torch.as_tensor(log_scale).exp() * (u @ v.T)


# --- text.contrastive_loss ----------------------------------------------------------------------


@accepted("text.contrastive_loss")
def by_log_softmax(scores):
    rows, columns = scores.log_softmax(1).diagonal(), scores.log_softmax(0).diagonal()
    return -(rows + columns).mean() / 2


@accepted("text.contrastive_loss")
def by_logsumexp(scores):
    top = torch.logsumexp(scores, 0) + torch.logsumexp(scores, 1)
    return (top / 2 - scores.diag()).mean()


@accepted("text.contrastive_loss")
def pair_by_pair(scores):
    n = len(scores)
    cost = [s.logsumexp(0) - s[i] for i, s in enumerate(scores)]
    cost += [s.logsumexp(0) - s[i] for i, s in enumerate(scores.T)]
    return torch.stack(cost).sum() / (2 * n)


@accepted("text.contrastive_loss")
def both_in_one_batch(scores):
    pairs = torch.arange(len(scores)).repeat(2)
    return F.cross_entropy(torch.cat([scores, scores.T]), pairs)


# --- text.token_count ---------------------------------------------------------------------------


@accepted("text.token_count")
def step_by_step(height, width, downsampling, patch, words=0):
    tokens = 1
    for side in (height, width):
        count, rest = divmod(side, downsampling * patch)
        if rest:
            below, above = side - rest, side - rest + downsampling * patch
            raise ValueError(f"{side} is no multiple: take {below} or {above}")
        tokens *= count
    return words + tokens


@accepted("text.token_count")
def latents_first(height, width, downsampling, patch, words=0):
    if height % downsampling == 0 and width % downsampling == 0:
        h, w = height // downsampling, width // downsampling
        if h % patch == 0 and w % patch == 0:
            return h * w // patch**2 + words
    cell = downsampling * patch
    near = [(side // cell * cell, -(-side // cell) * cell) for side in (height, width)]
    raise ValueError(f"{height}×{width} does not fit: take one of {near[0]} by one of {near[1]}")


@accepted("text.token_count")
def whole_fractions(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    rows, columns = height / cell, width / cell
    if rows % 1 or columns % 1:
        odd = height if rows % 1 else width
        low = math.floor(odd / cell) * cell
        raise ValueError(f"sides next to {odd} that fit: {low}, {low + cell}")
    return int(rows) * int(columns) + words
