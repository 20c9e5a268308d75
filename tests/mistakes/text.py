"""Typical wrong answers to chapter 10's texts, each with the sentence that explains it."""

import math

import torch
from torch.nn import functional as F

from cs231n_gen import text
from cs231n_gen.checking.variants import mistake


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
        raise ValueError("captions must be a list of texts, at least one")
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
