"""Typical wrong answers to chapter 10's texts, each with the sentence that explains it."""

import math
import types

import torch
from torch import nn
from torch.nn import functional as F

from cs231n_gen import text
from cs231n_gen.checking.variants import mistake


def several_texts(captions, vocabulary, length):
    if isinstance(captions, str) or not len(captions):
        raise ValueError(f"captions must be a list of texts, at least one, got {captions!r}")


def same_dim(images, texts, log_scale):
    if images.dim() != 2 or texts.dim() != 2 or images.shape[1] != texts.shape[1]:
        shapes = f"{tuple(images.shape)} and {tuple(texts.shape)}"
        raise ValueError(f"images and texts must be (n, dim) and (m, dim), got {shapes}")


def square(scores):
    if scores.dim() != 2 or scores.shape[0] != scores.shape[1] or not len(scores):
        raise ValueError(f"scores must be (n, n), n at least 1, got {tuple(scores.shape)}")


def positive(height, width, downsampling, patch, words=0):
    if min(height, width, downsampling, patch) <= 0 or words < 0:
        got = f"{height}, {width}, {downsampling}, {patch} and {words}"
        raise ValueError(
            f"sides, downsampling and patch must be positive, words not less than 0, got {got}"
        )


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {
    "text.tokenize": several_texts,
    "text.similarity": same_dim,
    "text.contrastive_loss": square,
    "text.token_count": positive,
}

# --- text.tokenize ------------------------------------------------------------------------------


def split(caption):
    return caption.lower().split()


def number_of(word, vocabulary):
    if word not in vocabulary[1:]:
        raise ValueError(f"{word!r} is not in the vocabulary")
    return vocabulary.index(word)


def filled(captions, vocabulary, length, words=split, number=number_of, at=lambda i, n: i):
    """Rows of numbers, with other words, other numbers of words, or words in other places."""
    tokens = torch.zeros(len(captions), length, dtype=torch.int64)
    for row, caption in zip(tokens, captions, strict=True):
        found = words(caption)
        if len(found) > length:
            raise ValueError(f"a caption has at most {length} words, got {len(found)}")
        for i, word in enumerate(found):
            row[at(i, len(found))] = number(word, vocabulary)
    return tokens


def masked(tokens):
    return tokens, tokens != 0


@mistake(
    "text.tokenize",
    "Your words are numbered from 0, without the entry for padding, so the first one is "
    "padding. A word's number is its place in the vocabulary, where padding is entry 0.",
)
def numbered_from_0(captions, vocabulary, length):
    return masked(filled(captions, vocabulary, length, number=lambda w, v: number_of(w, v) - 1))


@mistake(
    "text.tokenize",
    "Your numbers are one too large: a word's number is its place in the vocabulary, which has "
    "padding as entry 0 already.",
)
def one_more_for_padding(captions, vocabulary, length):
    return masked(filled(captions, vocabulary, length, number=lambda w, v: number_of(w, v) + 1))


@mistake(
    "text.tokenize",
    "The mask is inverted: it is True where a word is, and False where padding is.",
)
def mask_inverted(captions, vocabulary, length):
    tokens = filled(captions, vocabulary, length)
    return tokens, tokens == 0


@mistake(
    "text.tokenize",
    "The mask must be of truth values: torch.bool, not numbers.",
    sure=True,
)
def mask_of_numbers(captions, vocabulary, length):
    tokens = filled(captions, vocabulary, length)
    return tokens, (tokens != 0).long()


@mistake("text.tokenize", "Your mask is True everywhere. Padding is no word: it is False there.")
def nothing_masked(captions, vocabulary, length):
    tokens = filled(captions, vocabulary, length)
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


@mistake(
    "text.tokenize",
    "Padding stands in front of the words. A row begins with the first word, and padding follows.",
)
def padding_in_front(captions, vocabulary, length):
    return masked(filled(captions, vocabulary, length, at=lambda i, n: length - n + i))


@mistake("text.tokenize", "The words stand in reverse order: a row begins with the first word.")
def reversed_words(captions, vocabulary, length):
    return masked(filled(captions, vocabulary, length, at=lambda i, n: n - 1 - i))


@mistake(
    "text.tokenize",
    "Your words are sorted, or counted: their order is lost, and with it who stands left of whom.",
)
def sorted_words(captions, vocabulary, length):
    return masked(filled(captions, vocabulary, length, words=lambda c: sorted(split(c))))


@mistake(
    "text.tokenize",
    "A word that occurs again is left out: every word of a caption has its place in the row.",
)
def each_word_once(captions, vocabulary, length):
    return masked(filled(captions, vocabulary, length, words=lambda c: [*dict.fromkeys(split(c))]))


@mistake(
    "text.tokenize",
    "Captions that are too long are cut without a word. Whoever asked for the rest would never "
    "learn why it is missing: refuse them.",
)
def cut_silently(captions, vocabulary, length):
    return masked(filled(captions, vocabulary, length, words=lambda c: split(c)[:length]))


@mistake(
    "text.tokenize",
    "Unknown words become padding without a word. A caption would be read without them: refuse it.",
)
def unknown_as_padding(captions, vocabulary, length):
    def number(word, vocabulary):
        return vocabulary.index(word) if word in vocabulary else 0

    return masked(filled(captions, vocabulary, length, number=number))


@mistake(
    "text.tokenize",
    "Unknown words are left out, and a caption is read without them. Refuse it, and name the word.",
)
def unknown_left_out(captions, vocabulary, length):
    def words(caption):
        return [w for w in split(caption) if w in vocabulary[1:]]

    return masked(filled(captions, vocabulary, length, words))


@mistake(
    "text.tokenize",
    'Capital letters count in your answer: "Red" and "red" are one word. str.lower() makes '
    "small letters.",
    sure=True,
)
def capitals_count(captions, vocabulary, length):
    return masked(filled(captions, vocabulary, length, words=str.split))


@mistake(
    "text.tokenize",
    "You cut at every single space, so two of them have an empty word between, and an empty text "
    "has one. str.split() without an argument cuts at any amount of white space.",
    sure=True,
)
def split_at_spaces(captions, vocabulary, length):
    return masked(filled(captions, vocabulary, length, words=lambda c: c.lower().split(" ")))


@mistake(
    "text.tokenize",
    "The first entry of the vocabulary counts as a word in your answer. It stands for padding, "
    "and no caption may hold it.",
)
def padding_is_a_word(captions, vocabulary, length):
    def number(word, vocabulary):
        if word not in vocabulary:
            raise ValueError(f"{word!r} is not in the vocabulary")
        return vocabulary.index(word)

    return masked(filled(captions, vocabulary, length, number=number))


@mistake(
    "text.tokenize",
    "An unknown word is refused with another error than a ValueError: what a dictionary or a list "
    "raises does not say to a reader what is wrong. Check, and say it.",
    sure=True,
)
def key_error(captions, vocabulary, length):
    known = {word: i for i, word in enumerate(vocabulary) if i}
    return masked(filled(captions, vocabulary, length, number=lambda w, v: known[w]))


@mistake(
    "text.tokenize",
    "An unknown word is refused, but the message does not name it: a reader has to know which of "
    "the words it is.",
    sure=True,
)
def word_not_named(captions, vocabulary, length):
    def number(word, vocabulary):
        if word not in vocabulary[1:]:
            raise ValueError("a word is not in the vocabulary")
        return vocabulary.index(word)

    return masked(filled(captions, vocabulary, length, number=number))


@mistake(
    "text.tokenize",
    "Too long a caption is refused, but the message does not say how many words it has.",
    sure=True,
)
def words_not_counted(captions, vocabulary, length):
    if any(len(split(c)) > length for c in captions):
        raise ValueError("a caption has too many words")
    return masked(filled(captions, vocabulary, length))


@mistake(
    "text.tokenize",
    "A caption of exactly L words is refused. It fits: there need not be padding.",
    sure=True,
)
def room_for_padding(captions, vocabulary, length):
    for n in (len(split(c)) for c in captions):
        if n >= length:
            raise ValueError(f"a caption has at most {length - 1} words, got {n}")
    return masked(filled(captions, vocabulary, length))


@mistake(
    "text.tokenize",
    "An empty caption is refused. It is all padding: whoever asks for nothing gets any picture.",
    sure=True,
)
def empty_refused(captions, vocabulary, length):
    if not all(split(c) for c in captions):
        raise ValueError("a caption must have words")
    return masked(filled(captions, vocabulary, length))


@mistake(
    "text.tokenize",
    "Your rows are as long as the longest caption. All have length L, however short the captions.",
)
def as_long_as_the_longest(captions, vocabulary, length):
    tokens = filled(captions, vocabulary, length)
    return masked(tokens[:, : max(1, *(len(split(c)) for c in ["", *captions]))])


@mistake(
    "text.tokenize",
    "The numbers must be int64, so that an embedding can look them up.",
    sure=True,
)
def floats(captions, vocabulary, length):
    tokens = filled(captions, vocabulary, length)
    return tokens.float(), tokens != 0


@mistake(
    "text.tokenize",
    "Words are compared by their beginnings in your answer: a part of a word is another word.",
)
def beginnings(captions, vocabulary, length):
    def number(word, vocabulary):
        near = [i for i, w in enumerate(vocabulary) if i and w.startswith(word)]
        if not near:
            raise ValueError(f"{word!r} is not in the vocabulary")
        return vocabulary.index(word) if word in vocabulary else near[0]

    return masked(filled(captions, vocabulary, length, number=number))


@mistake(
    "text.tokenize",
    "One text in place of several is not refused: leave the lines above yours as they are.",
    bare=True,
)
def one_text_taken(captions, vocabulary, length):
    if not len(captions):
        raise ValueError(f"captions must be a list of texts, at least one, got {captions!r}")
    captions = [captions] if isinstance(captions, str) else captions
    return masked(filled(captions, vocabulary, length))


@mistake(
    "text.tokenize",
    "A vocabulary that is a tuple fails in your answer: it has no list's methods, and need not be "
    "a list.",
    sure=True,
)
def lists_only(captions, vocabulary, length):
    return masked(filled(captions, vocabulary.copy(), length))


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


def embedded(self, tokens):
    return self.word(tokens) + self.place.weight[: tokens.shape[1]]


def through(self, h, mask):
    for block in self.blocks:
        h = block(h, mask)
    return h


def pooled(self, words, mask):
    return self.out(words.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))


def ended(self, h, mask):
    """What the reference makes of the words after the blocks."""
    words = self.norm(h) * mask[..., None]
    return words, pooled(self, words, mask)


@mistake(
    "text.TextEncoder",
    "Words attend to padding: your blocks get no mask, or one that is True everywhere.",
)
def padding_attended(*args, **options):
    def forward(self, tokens, mask):
        return ended(self, through(self, embedded(self, tokens), torch.ones_like(mask)), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "The mask of your blocks is inverted: words attend to padding, and to nothing else. It is True "
    "where a word is.",
)
def inverted_in_blocks(*args, **options):
    def forward(self, tokens, mask):
        return ended(self, through(self, embedded(self, tokens), ~mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your mask is inverted at the end: words become 0, and padding stays. It is True where a word "
    "is.",
)
def inverted_at_the_end(*args, **options):
    def forward(self, tokens, mask):
        return ended(self, through(self, embedded(self, tokens), mask), ~mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Places are forgotten: your encoder sees a bag of words, in which nobody stands left of "
    "anybody.",
)
def order_lost(*args, **options):
    def forward(self, tokens, mask):
        h = self.word(tokens) + 0 * self.place.weight[: tokens.shape[1]]
        return ended(self, through(self, h, mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your places count words, and leave padding out. A word's place is its place in the row.",
)
def places_count_words(*args, **options):
    def forward(self, tokens, mask):
        place = (mask.cumsum(1) - 1).clamp(min=0)
        return ended(self, through(self, self.word(tokens) + self.place(place), mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your places are counted from the end of all L. The first word has place[0].",
)
def places_from_the_end(*args, **options):
    def forward(self, tokens, mask):
        h = self.word(tokens) + self.place.weight[-tokens.shape[1] :]
        return ended(self, through(self, h, mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your places are one too large: they begin with place[0].",
)
def places_from_1(*args, **options):
    def forward(self, tokens, mask):
        n = (torch.arange(tokens.shape[1]) + 1).clamp(max=self.length - 1)
        return ended(self, through(self, self.word(tokens) + self.place(n), mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Every word gets the place of the whole caption: the same one. Word i gets place[i].",
)
def first_place_for_all(*args, **options):
    def forward(self, tokens, mask):
        return ended(self, through(self, self.word(tokens) + self.place.weight[0], mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Words are multiplied by their places. Places are added.",
)
def places_multiplied(*args, **options):
    def forward(self, tokens, mask):
        h = self.word(tokens) * self.place.weight[: tokens.shape[1]]
        return ended(self, through(self, h, mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Places are added after the blocks. There they tell the attention nothing: add them before.",
)
def places_after_the_blocks(*args, **options):
    def forward(self, tokens, mask):
        h = through(self, self.word(tokens), mask) + self.place.weight[: tokens.shape[1]]
        return ended(self, h, mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "All L places are added: rows may be shorter, and have the first n of them.",
    sure=True,
)
def all_places(*args, **options):
    def forward(self, tokens, mask):
        return ended(self, through(self, self.word(tokens) + self.place.weight, mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your mean divides by the length of the row: the more padding, the smaller it is. Divide by "
    "the number of words.",
)
def mean_over_the_row(*args, **options):
    def forward(self, tokens, mask):
        words, _ = ended(self, through(self, embedded(self, tokens), mask), mask)
        return words, self.out(words.mean(1))

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Padding is part of your mean: pool over those i that are words.",
)
def padding_in_the_mean(*args, **options):
    def forward(self, tokens, mask):
        words = self.norm(through(self, embedded(self, tokens), mask))
        return words * mask[..., None], self.out(words.mean(1))

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your pooled vector is made of a sum: divide it by the number of words.",
)
def summed_words(*args, **options):
    def forward(self, tokens, mask):
        words, _ = ended(self, through(self, embedded(self, tokens), mask), mask)
        return words, self.out(words.sum(1))

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your pooled vector is made of the largest numbers of all words. It is their mean here.",
)
def largest_numbers(*args, **options):
    def forward(self, tokens, mask):
        words, _ = ended(self, through(self, embedded(self, tokens), mask), mask)
        most = words.masked_fill(~mask[..., None], -math.inf).amax(1)
        return words, self.out(torch.where(mask.any(1, keepdim=True), most, 0.0))

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your pooled vector is made of the first word alone. It is the mean of all words.",
)
def first_word_only(*args, **options):
    def forward(self, tokens, mask):
        words, _ = ended(self, through(self, embedded(self, tokens), mask), mask)
        return words, self.out(words[:, 0])

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your pooled vector is made of the last word alone, as CLIP's is. It is the mean of all words.",
)
def last_word_only(*args, **options):
    def forward(self, tokens, mask):
        words, _ = ended(self, through(self, embedded(self, tokens), mask), mask)
        last = (mask * torch.arange(1, 1 + tokens.shape[1])).argmax(1)
        return words, self.out(words[torch.arange(len(words)), last])

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "A caption without words divides 0 by 0. Let it divide by 1.",
    sure=True,
)
def nothing_by_nothing(*args, **options):
    def forward(self, tokens, mask):
        words, _ = ended(self, through(self, embedded(self, tokens), mask), mask)
        return words, self.out(words.sum(1) / mask.sum(1, keepdim=True))

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "You add something to the number of words before you divide by it. Only a caption without "
    "words needs another number.",
    sure=True,
)
def more_words_than_there_are(*args, **options):
    def forward(self, tokens, mask):
        words, _ = ended(self, through(self, embedded(self, tokens), mask), mask)
        return words, self.out(words.sum(1) / (mask.sum(1, keepdim=True) + 1e-6))

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "The pooled vector of a caption without words is 0 in your answer. It is out(0): the bias of "
    "the last layer.",
)
def pooled_of_nothing_is_0(*args, **options):
    def forward(self, tokens, mask):
        words, whole = ended(self, through(self, embedded(self, tokens), mask), mask)
        return words, whole * mask.any(1, keepdim=True)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Where padding is, your words are not 0. Multiply them by the mask after the last norm.",
)
def padding_not_zero(*args, **options):
    def forward(self, tokens, mask):
        h = self.norm(through(self, embedded(self, tokens), mask))
        return h, ended(self, through(self, embedded(self, tokens), mask), mask)[1]

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Padding becomes 0 before the last norm, which makes its bias of it. Mask after the norm.",
)
def masked_before_the_norm(*args, **options):
    def forward(self, tokens, mask):
        words = self.norm(through(self, embedded(self, tokens), mask) * mask[..., None])
        return words, pooled(self, words, mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "The last norm is missing: words = norm(h).",
)
def no_last_norm(*args, **options):
    def forward(self, tokens, mask):
        words = through(self, embedded(self, tokens), mask) * mask[..., None]
        return words, pooled(self, words, mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your pooled vector is made of words before the last norm. It is the mean of those after it.",
)
def pooled_before_the_norm(*args, **options):
    def forward(self, tokens, mask):
        h = through(self, embedded(self, tokens), mask) * mask[..., None]
        return self.norm(h) * mask[..., None], pooled(self, h, mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "The norm comes after the mean: it is that of one vector. Words are normalised, then averaged.",
)
def norm_after_the_mean(*args, **options):
    def forward(self, tokens, mask):
        h = through(self, embedded(self, tokens), mask)
        count = mask.sum(1, keepdim=True).clamp(min=1)
        whole = self.norm((h * mask[..., None]).sum(1) / count) * mask.any(1, keepdim=True)
        return self.norm(h) * mask[..., None], self.out(whole)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "The layer `out` is missing: your pooled vector is the mean of words itself.",
)
def without_out(*args, **options):
    def forward(self, tokens, mask):
        words, _ = ended(self, through(self, embedded(self, tokens), mask), mask)
        return words, words.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your words have gone through `out` as well. It belongs to the pooled vector alone.",
)
def out_of_words(*args, **options):
    def forward(self, tokens, mask):
        words, whole = ended(self, through(self, embedded(self, tokens), mask), mask)
        return self.out(words) * mask[..., None], whole

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your pooled vector is divided by its length. `similarity` does that; here it stays as it is.",
)
def of_length_1(*args, **options):
    def forward(self, tokens, mask):
        words, whole = ended(self, through(self, embedded(self, tokens), mask), mask)
        return words, F.normalize(whole, dim=1)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Words and pooled vector have changed places: words come first.",
)
def pooled_first(*args, **options):
    def forward(self, tokens, mask):
        return ended(self, through(self, embedded(self, tokens), mask), mask)[::-1]

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "The blocks are missing: no word knows its context.",
)
def no_blocks(*args, **options):
    def forward(self, tokens, mask):
        return ended(self, embedded(self, tokens), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Only one of several blocks is called: each takes what the one before returned.",
)
def one_block_only(*args, **options):
    def forward(self, tokens, mask):
        h = embedded(self, tokens)
        for block in self.blocks[:1]:
            h = block(h, mask)
        return ended(self, h, mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Every block begins with the embeddings again, so only the last one counts. Each takes what "
    "the one before returned.",
)
def last_block_only(*args, **options):
    def forward(self, tokens, mask):
        first = h = embedded(self, tokens)
        for block in self.blocks:
            h = block(first, mask)
        return ended(self, h, mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "You add what a block returns to what it got. A block does that itself.",
)
def added_twice(*args, **options):
    def forward(self, tokens, mask):
        h = embedded(self, tokens)
        for block in self.blocks:
            h = h + block(h, mask)
        return ended(self, h, mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "The last norm follows each block as well. It comes once, at the end.",
)
def norm_after_each_block(*args, **options):
    def forward(self, tokens, mask):
        h = embedded(self, tokens)
        for block in self.blocks:
            h = self.norm(block(h, mask))
        words = (h if len(self.blocks) else self.norm(h)) * mask[..., None]
        return words, pooled(self, words, mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "You ask tokens ≠ 0 what padding is, not the mask. Whatever is in tokens there, padding is "
    "where the mask is False.",
)
def own_mask(*args, **options):
    def forward(self, tokens, mask):
        mask = tokens != 0
        return ended(self, through(self, embedded(self, tokens), mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "You cut each row behind as many tokens as it has words. Padding may stand in front of words, "
    "or between them.",
)
def words_in_front(*args, **options):
    def forward(self, tokens, mask):
        mask = torch.arange(tokens.shape[1]) < mask.sum(1, keepdim=True)
        return ended(self, through(self, embedded(self, tokens), mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your rows are cut to the largest number of words. Padding may stand in front of words, or "
    "between them, and then words are lost.",
)
def cut_to_the_longest(*args, **options):
    def forward(self, tokens, mask):
        n = int(mask.sum(1).max().clamp(min=1))
        words, whole = ended(
            self, through(self, embedded(self, tokens[:, :n]), mask[:, :n]), mask[:, :n]
        )
        return F.pad(words, (0, 0, 0, tokens.shape[1] - n)), whole

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "All captions get the mask of the first one. Each has its own.",
)
def mask_of_the_first(*args, **options):
    def forward(self, tokens, mask):
        mask = mask[:1].expand_as(mask)
        return ended(self, through(self, embedded(self, tokens), mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Your mean runs over all captions of the batch. Each has a pooled vector of its own words.",
)
def mean_over_the_batch(*args, **options):
    def forward(self, tokens, mask):
        words, _ = ended(self, through(self, embedded(self, tokens), mask), mask)
        whole = words.sum((0, 1)) / mask.sum().clamp(min=1)
        return words, self.out(whole).expand(len(words), -1)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "The embeddings are cut out of the graph: words and places would never learn.",
    sure=True,
)
def embeddings_cut_off(*args, **options):
    def forward(self, tokens, mask):
        return ended(self, through(self, embedded(self, tokens).detach(), mask), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "The mean is taken of words that are cut out of the graph: the pooled vector, from which the "
    "contrastive loss is made, teaches the blocks nothing.",
)
def pooled_cut_off(*args, **options):
    def forward(self, tokens, mask):
        words, _ = ended(self, through(self, embedded(self, tokens), mask), mask)
        return words, pooled(self, words.detach(), mask)

    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Places are learned although places = 0 says that there are none: leave `__init__` as it is.",
    sure=True,
)
def places_learned_from_0(*args, **options):
    made = text.TextEncoder(*args, **options)
    made.place.weight.requires_grad_(True)
    return made


@mistake(
    "text.TextEncoder",
    "Your embeddings begin with another standard deviation: that of torch is 1, here it is ½ for "
    "both unless `places` says otherwise.",
    sure=True,
)
def embeddings_of_torch(*args, **options):
    made = text.TextEncoder(*args, **options)
    nn.init.normal_(made.word.weight)
    return made


@mistake(
    "text.TextEncoder",
    "You answer captions that came before with what was kept from then. Weights may have changed: "
    "compute it anew.",
    public=False,
)
def answers_kept(*args, **options):
    def forward(self, tokens, mask):
        asked = f"{tokens.tolist()} {mask.tolist()}"
        if asked not in kept:
            kept[asked] = text.TextEncoder.forward(self, tokens, mask)
        return kept[asked]

    kept = {}
    return walking(forward, args, options)


@mistake(
    "text.TextEncoder",
    "Tokens or masks that do not fit are not refused: leave the lines above yours as they are.",
    sure=True,
)
def anything_encoded(*args, **options):
    made = text.TextEncoder(*args, **options)

    def forward(tokens, mask):
        tokens = tokens.reshape(len(tokens), -1)[:, : made.length]
        mask = (mask.reshape(len(mask), -1)[:, :1] > 0).expand(tokens.shape)
        return ended(made, through(made, embedded(made, tokens), mask), mask)

    usual = made.forward

    def either(tokens, mask):
        fits = mask.shape == tokens.shape and mask.dtype == torch.bool and tokens.dim() == 2
        return (usual if fits and 0 < tokens.shape[1] <= made.length else forward)(tokens, mask)

    made.forward = either
    return made


# --- text.similarity ----------------------------------------------------------------------------


def cosines(images, texts):
    return F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T


def exp(log_scale, images):
    return torch.as_tensor(log_scale, dtype=images.dtype).exp()


@mistake(
    "text.similarity",
    "These are products, not cosines: each vector has to be divided by its length.",
)
def products(images, texts, log_scale):
    return exp(log_scale, images) * images @ texts.T


@mistake(
    "text.similarity",
    "Only one of the two is divided by its length. The cosine needs both.",
)
def images_normalised_only(images, texts, log_scale):
    return exp(log_scale, images) * F.normalize(images, dim=1) @ texts.T


@mistake(
    "text.similarity",
    "The images are not divided by their length; only the texts are. The cosine needs both.",
)
def texts_normalised_only(images, texts, log_scale):
    return exp(log_scale, images) * images @ F.normalize(texts, dim=1).T


@mistake(
    "text.similarity",
    "You multiply by log_scale itself. It is a logarithm: the scale is its exponential, which "
    "stays positive.",
)
def scale_without_exp(images, texts, log_scale):
    return log_scale * cosines(images, texts)


@mistake(
    "text.similarity",
    "You divide by the scale, as by a temperature. Here the cosines are multiplied by it.",
)
def temperature(images, texts, log_scale):
    return cosines(images, texts) / exp(log_scale, images)


@mistake(
    "text.similarity",
    "You divide by log_scale. The scale is its exponential, and multiplies the cosines.",
)
def divided_by_the_logarithm(images, texts, log_scale):
    return cosines(images, texts) / (log_scale + 0 * images.sum())


@mistake("text.similarity", "The scale is missing: the cosines are multiplied by exp(log_scale).")
def no_scale(images, texts, log_scale):
    return cosines(images, texts) + 0 * exp(log_scale, images)


@mistake(
    "text.similarity",
    "exp(log_scale) is added to the cosines. It multiplies them.",
)
def scale_added(images, texts, log_scale):
    return cosines(images, texts) + exp(log_scale, images)


@mistake(
    "text.similarity",
    "Rows and columns are exchanged: a row belongs to an image, a column to a text.",
)
def transposed(images, texts, log_scale):
    return exp(log_scale, images) * cosines(texts, images)


@mistake(
    "text.similarity",
    "Each image meets one text only, that of its own row. All n·m pairs are asked for.",
    sure=True,
)
def pairs_only(images, texts, log_scale):
    n = min(len(images), len(texts))
    return exp(log_scale, images) * F.cosine_similarity(images[:n], texts[:n], dim=1)


@mistake(
    "text.similarity",
    "You divide along the wrong axis: by the length of a column, over all images. Each row is "
    "divided by its own length.",
)
def over_the_batch(images, texts, log_scale):
    u, v = F.normalize(images, dim=0), F.normalize(texts, dim=0)
    return exp(log_scale, images) * u @ v.T


@mistake(
    "text.similarity",
    "You divide by the length of all vectors together. Each one has a length of its own.",
)
def one_length_for_all(images, texts, log_scale):
    return exp(log_scale, images) * (images / images.norm()) @ (texts / texts.norm()).T


@mistake(
    "text.similarity",
    "You divide by squares of lengths. ‖u‖ is the root of the sum of squares.",
)
def squared_lengths(images, texts, log_scale):
    u = images / images.square().sum(1, keepdim=True)
    v = texts / texts.square().sum(1, keepdim=True)
    return exp(log_scale, images) * u @ v.T


@mistake(
    "text.similarity",
    "Your lengths are sums of absolute values. ‖u‖ is the root of the sum of squares.",
)
def sums_of_absolute_values(images, texts, log_scale):
    u, v = F.normalize(images, p=1, dim=1), F.normalize(texts, p=1, dim=1)
    return exp(log_scale, images) * u @ v.T


@mistake(
    "text.similarity",
    "Vectors lose their mean before they are compared: that is a correlation. The cosine is of the "
    "vectors as they are.",
)
def correlations(images, texts, log_scale):
    u, v = (x - x.mean(1, keepdim=True) for x in (images, texts))
    return exp(log_scale, images) * cosines(u, v)


@mistake(
    "text.similarity",
    "A small number is added to the lengths. That makes short vectors less alike than they are.",
)
def more_than_the_length(images, texts, log_scale):
    u = images / (images.norm(dim=1, keepdim=True) + 1e-6)
    v = texts / (texts.norm(dim=1, keepdim=True) + 1e-6)
    return exp(log_scale, images) * u @ v.T


@mistake(
    "text.similarity",
    "log_scale is cut out of the graph, so the scale is never learned.",
    sure=True,
)
def scale_cut_off(images, texts, log_scale):
    scale = math.exp(float(log_scale))
    return scale * cosines(images, texts)


@mistake(
    "text.similarity",
    "The lengths are cut out of the graph. They are functions of the vectors, so gradients flow "
    "through them.",
)
def lengths_cut_off(images, texts, log_scale):
    u = images / images.norm(dim=1, keepdim=True).detach()
    v = texts / texts.norm(dim=1, keepdim=True).detach()
    return exp(log_scale, images) * u @ v.T


@mistake(
    "text.similarity",
    "log_scale may also be a plain number: yours has to be a tensor.",
    sure=True,
)
def tensors_only(images, texts, log_scale):
    return log_scale.exp() * cosines(images, texts)


@mistake(
    "text.similarity",
    "The scale is kept below a bound. The formula has none.",
)
def scale_clamped(images, texts, log_scale):
    return exp(log_scale, images).clamp(max=20.0) * cosines(images, texts)


@mistake(
    "text.similarity",
    "Shapes that do not fit are not refused: leave the lines above yours as they are.",
    bare=True,
    sure=True,
)
def any_shape(images, texts, log_scale):
    return exp(log_scale, images) * cosines(images, texts)


# --- text.contrastive_loss ----------------------------------------------------------------------


def pairs_of(scores):
    return torch.arange(len(scores))


@mistake(
    "text.contrastive_loss",
    "Only the texts of each image are told apart: the other half, the images of each text, is "
    "missing.",
)
def texts_only(scores):
    return F.cross_entropy(scores, pairs_of(scores))


@mistake(
    "text.contrastive_loss",
    "Only the images of each text are told apart: the other half, the texts of each image, is "
    "missing.",
)
def images_only(scores):
    return F.cross_entropy(scores.T, pairs_of(scores))


@mistake("text.contrastive_loss", "Both halves are added: L is their mean, half of that.")
def halves_added(scores):
    return F.cross_entropy(scores, pairs_of(scores)) + F.cross_entropy(scores.T, pairs_of(scores))


@mistake("text.contrastive_loss", "You sum over the pairs: each half is a mean over them.")
def summed(scores):
    n = pairs_of(scores)
    rows = F.cross_entropy(scores, n, reduction="sum")
    return (rows + F.cross_entropy(scores.T, n, reduction="sum")) / 2


@mistake(
    "text.contrastive_loss",
    "Your softmax runs over all N² pairs. Each image chooses among its own N texts, each text "
    "among its N images.",
)
def over_all_pairs(scores):
    return -scores.flatten().log_softmax(0).view_as(scores).diagonal().mean()


@mistake(
    "text.contrastive_loss",
    "The sign is missing: you return the mean of log-probabilities, which is never positive.",
)
def without_the_sign(scores):
    return -both(scores)


def both(scores):
    n = pairs_of(scores)
    return (F.cross_entropy(scores, n) + F.cross_entropy(scores.T, n)) / 2


@mistake(
    "text.contrastive_loss",
    "You average probabilities, without their logarithm.",
)
def without_log(scores):
    return -(scores.softmax(0) + scores.softmax(1)).diagonal().mean() / 2


@mistake(
    "text.contrastive_loss",
    "You average over all N² pairs. Only those on the diagonal belong together.",
)
def mean_of_all(scores):
    return -(scores.log_softmax(0) + scores.log_softmax(1)).mean() / 2


@mistake(
    "text.contrastive_loss",
    "Your loss is that of N² separate yes-or-no questions. Each image chooses one of N texts: a "
    "softmax, not a sigmoid.",
)
def sigmoids(scores):
    pairs = torch.eye(len(scores)).to(scores.dtype)
    return F.binary_cross_entropy_with_logits(scores, pairs)


@mistake(
    "text.contrastive_loss",
    "The pair itself is left out of the sum under the softmax. All N texts are in it, the right "
    "one too.",
)
def without_the_pair(scores):
    others = scores.masked_fill(torch.eye(len(scores)).bool(), -math.inf)
    right = scores.diagonal()
    return (others.logsumexp(0) + others.logsumexp(1)).mean() / 2 - right.mean()


@mistake(
    "text.contrastive_loss",
    "For large scores your loss is infinite: a probability is rounded to 0 before its logarithm is "
    "taken. log_softmax, or cross_entropy, computes both in one.",
    sure=True,
)
def softmax_then_log(scores):
    rows, columns = scores.softmax(1).diagonal(), scores.softmax(0).diagonal()
    return -(rows.log() + columns.log()).mean() / 2


@mistake(
    "text.contrastive_loss",
    "Exponentials of large scores overflow, even where nothing is left to find. log_softmax, or "
    "cross_entropy, subtracts the largest score first.",
    sure=True,
)
def bare_exponentials(scores):
    e, right = scores.exp(), scores.diagonal()
    return (e.sum(0).log() + e.sum(1).log()).mean() / 2 - right.mean()


@mistake(
    "text.contrastive_loss",
    "You add a small number before the logarithm: bad pairs cost less than they should, and no "
    "more than −log of that number.",
)
def small_number(scores):
    rows, columns = scores.softmax(1).diagonal(), scores.softmax(0).diagonal()
    return -((rows + 1e-8).log() + (columns + 1e-8).log()).mean() / 2


@mistake(
    "text.contrastive_loss",
    "Scores are clamped: beyond your bound they count the same, and get no gradient.",
)
def clamped(scores):
    return both(scores.clamp(-100, 100))


@mistake(
    "text.contrastive_loss",
    "The logarithm is that to base 2. Losses are in nats, by the natural logarithm.",
)
def bits(scores):
    return both(scores) / math.log(2)


@mistake(
    "text.contrastive_loss",
    "You divide by log N as well. L is the mean cost itself, and log N is the most that is paid "
    "by who knows nothing.",
)
def share_of_log_n(scores):
    return both(scores) / math.log(len(scores)) if len(scores) > 1 else both(scores)


@mistake(
    "text.contrastive_loss",
    "You return log N − L, what is learned about the pairs. The loss is L.",
)
def bound_returned(scores):
    return math.log(len(scores)) - both(scores)


@mistake(
    "text.contrastive_loss",
    "One of your halves is cut out of the graph: scores get half of their gradient.",
)
def half_cut_off(scores):
    n = pairs_of(scores)
    return (F.cross_entropy(scores, n) + F.cross_entropy(scores.T, n).detach()) / 2


@mistake(
    "text.contrastive_loss",
    "The loss is shaped like the batch, a number for each pair. It is one number, their mean.",
    sure=True,
)
def one_for_each_pair(scores):
    return -(scores.log_softmax(0) + scores.log_softmax(1)).diagonal() / 2


@mistake(
    "text.contrastive_loss",
    "Scores that are not square are not refused: leave the lines above yours as they are.",
    bare=True,
    sure=True,
)
def any_scores(scores):
    return both(scores)


# --- text.token_count ---------------------------------------------------------------------------


def fits(height, width, cell):
    """What the reference refuses."""
    text.token_count(height, width, cell, 1)


@mistake(
    "text.token_count",
    "You count latents, without patches: patchify makes one token of P×P latents.",
)
def without_patches(height, width, downsampling, patch, words=0):
    fits(height, width, downsampling * patch)
    return (height // downsampling) * (width // downsampling) + words


@mistake(
    "text.token_count",
    "The autoencoder is missing: it makes each side D times smaller before patches are cut.",
)
def without_autoencoder(height, width, downsampling, patch, words=0):
    fits(height, width, downsampling * patch)
    return (height // patch) * (width // patch) + words


@mistake(
    "text.token_count",
    "You divide by P once. A patch is P×P latents: both sides are divided by P.",
)
def patch_once(height, width, downsampling, patch, words=0):
    fits(height, width, downsampling * patch)
    return (height // downsampling) * (width // downsampling) // patch + words


@mistake(
    "text.token_count",
    "You divide by D P once. Both sides are divided by it.",
)
def cell_once(height, width, downsampling, patch, words=0):
    fits(height, width, downsampling * patch)
    return height * width // (downsampling * patch) + words


@mistake(
    "text.token_count",
    "Slide 102's slip: 64×64 is 4096, not 1024. Sides are divided by D and by P once each.",
)
def slide_102(height, width, downsampling, patch, words=0):
    fits(height, width, downsampling * patch)
    return (height // downsampling // patch) * (width // downsampling // patch) // patch**2 + words


@mistake(
    "text.token_count",
    "The words are missing: they are tokens as well where text and image attend jointly.",
)
def without_words(height, width, downsampling, patch, words=0):
    fits(height, width, downsampling * patch)
    return (height // (downsampling * patch)) * (width // (downsampling * patch))


@mistake(
    "text.token_count",
    "You count the pairs that attend to each other. The cost grows like the square; the number of "
    "tokens does not.",
)
def squared(height, width, downsampling, patch, words=0):
    return text.token_count(height, width, downsampling, patch, words) ** 2


@mistake(
    "text.token_count",
    "You multiply by the words. They stand beside the tokens of the image: add them.",
)
def times_words(height, width, downsampling, patch, words=0):
    return text.token_count(height, width, downsampling, patch) * (words or 1)


@mistake(
    "text.token_count",
    "Your image is a square of its height. Width counts as well.",
)
def height_twice(height, width, downsampling, patch, words=0):
    fits(height, width, downsampling * patch)
    return (height // (downsampling * patch)) ** 2 + words


@mistake(
    "text.token_count",
    "Height and width are added. Tokens fill a grid: rows times columns.",
)
def sides_added(height, width, downsampling, patch, words=0):
    fits(height, width, downsampling * patch)
    return height // (downsampling * patch) + width // (downsampling * patch) + words


@mistake(
    "text.token_count",
    "You return a fraction, a float. The number of tokens is an int: divide by //.",
    sure=True,
)
def float_returned(height, width, downsampling, patch, words=0):
    fits(height, width, downsampling * patch)
    return height / (downsampling * patch) * width / (downsampling * patch) + words


@mistake(
    "text.token_count",
    "A side that does not fit is rounded down without a word: pixels at its edge would be lost. "
    "Refuse it.",
)
def rounded_down(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    return (height // cell) * (width // cell) + words


@mistake(
    "text.token_count",
    "A side that does not fit is rounded up without a word, as if it were padded. Refuse it.",
)
def rounded_up(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    return -(-height // cell) * -(-width // cell) + words


@mistake(
    "text.token_count",
    "You refuse what D does not divide, and let latents through that P does not. Both have to "
    "divide in turn: check D · P.",
)
def latents_checked_only(height, width, downsampling, patch, words=0):
    fits(height, width, downsampling)
    cell = downsampling * patch
    return (height // cell) * (width // cell) + words


@mistake(
    "text.token_count",
    "You check that D divides a side and that P does. That is not enough: after D has divided it, "
    "P has to divide what is left.",
)
def each_checked_alone(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    for side in (height, width):
        if side % downsampling or side % patch:
            low = side // cell * cell
            raise ValueError(f"{side} does not fit, {low or low + cell} or {low + cell} does")
    return (height // cell) * (width // cell) + words


@mistake("text.token_count", "You check the height only. The width has to fit as well.")
def height_checked_only(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    fits(height, cell, cell)
    return (height // cell) * (width // cell) + words


@mistake("text.token_count", "You check the width only. The height has to fit as well.")
def width_checked_only(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    fits(cell, width, cell)
    return (height // cell) * (width // cell) + words


@mistake(
    "text.token_count",
    "You check the number of pixels, not the sides: 24×40 pixels have the area of sixteen-pixel "
    "squares, and cannot be cut into them.",
)
def area_checked(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    if height * width % cell**2:
        fits(height, width, cell)
    return height * width // cell**2 + words


@mistake(
    "text.token_count",
    "A side that does not fit is refused, but the message names no side that would. Name the "
    "multiples of D · P next to it.",
    sure=True,
)
def nearest_not_named(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    if height % cell or width % cell:
        raise ValueError("the sides do not fit")
    return (height // cell) * (width // cell) + words


@mistake(
    "text.token_count",
    "The message names the multiple below, and not the one above.",
    sure=True,
)
def only_below_named(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    for side in (height, width):
        if side % cell:
            raise ValueError(f"{side} does not fit, {side // cell * cell} does")
    return (height // cell) * (width // cell) + words


@mistake(
    "text.token_count",
    "The message names the multiple above, and not the one below.",
    sure=True,
)
def only_above_named(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    for side in (height, width):
        if side % cell:
            raise ValueError(f"{side} does not fit, {side // cell * cell + cell} does")
    return (height // cell) * (width // cell) + words


@mistake(
    "text.token_count",
    "Numbers that are not positive are not refused: leave the lines above yours as they are.",
    bare=True,
    sure=True,
)
def anything_counted(height, width, downsampling, patch, words=0):
    cell = downsampling * patch
    if not cell:
        return words
    for side in (height, width):
        if side % cell:
            low = side // cell * cell
            raise ValueError(f"{side} does not fit, {low} or {low + cell} does")
    return (height // cell) * (width // cell) + words
