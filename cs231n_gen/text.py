"""What a text-to-image model is told (slides 101–102): words as numbers, and an encoder of them.

A caption becomes a row of numbers, and the encoder makes a vector of each word, and one of the
whole. It learns from pictures with captions, contrastively, and is frozen afterwards.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen.dit_attention import attend, heads_of, hidden, join

PADDING = 0  # the number of no word
SPREAD = 0.5  # of embeddings at the start

Tokens = Int64[Tensor, "batch length"]
Mask = Bool[Tensor, "batch length"]
Features = Float[Tensor, "batch length dim"]
Rows = Float[Tensor, "batch dim"]


def tokenize(
    captions: Sequence[str], vocabulary: Sequence[str], length: int
) -> tuple[Tokens, Mask]:
    """Captions as rows of numbers, all of one length (slide 101).

    A word is what stands between white space, in capital or small letters alike. Its number is its
    place in the vocabulary. Rows begin with the first word, and are filled up with 0: the first
    entry of a vocabulary stands for no word.

    Args:
        captions: texts, at least one. An empty text is all padding.
        vocabulary: all words that are known, in small letters; `vocabulary[0]` is padding, and no
            word of a caption.
        length: L, of every row.
    Returns:
        `(tokens, mask)`, (batch, L) each: the numbers, int64, and True where a word is.
    Raises:
        ValueError: if a word is not in the vocabulary (the message names it), a caption has more
            than L words (the message says how many), there is no caption, or captions is one text
            in place of several.
    """
    if isinstance(captions, str) or not len(captions):
        raise ValueError(f"captions must be a list of texts, at least one, got {captions!r}")
    ### BEGIN SOLUTION
    number = {word: i for i, word in enumerate(vocabulary) if i != PADDING}
    tokens = torch.full((len(captions), length), PADDING)
    for row, caption in zip(tokens, captions, strict=True):
        words = caption.lower().split()
        if len(words) > length:
            raise ValueError(f"a caption has at most {length} words, got {len(words)}: {caption!r}")
        for i, word in enumerate(words):
            if word not in number:
                raise ValueError(f"{word!r} of {caption!r} is not one of: {', '.join(number)}")
            row[i] = number[word]
    return tokens, tokens != PADDING
    ### END SOLUTION


class TextBlock(nn.Module):
    """A Transformer block over words, `h = block(h, mask)`. Given.

        h ← h + attention(norm_1(h)),    where no token attends to padding
        h ← h + mlp(norm_2(h))

    Args:
        dim: numbers of a word.
        heads: of the attention, dividing dim.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim)
        )

    def forward(self, h: Features, mask: Mask) -> Features:
        q, k, v = heads_of(self.qkv(self.norm_1(h)), 3, self.heads)
        h = h + self.out(join(attend(q, k, v, hidden(mask, h))))
        return h + self.mlp(self.norm_2(h))


class TextEncoder(nn.Module):
    """A small Transformer over the words of a caption, `words, pooled = encoder(tokens, mask)`
    (slides 101–102; Radford et al. 2021).

        h_i = word[tokens_i] + place[i],    h ← block(h, mask) for each block,    words = norm(h)
        pooled = out(mean of words_i over those i that are words)

    Its layers are given, in this order: embeddings `word` and `place`; `blocks`, each a
    `TextBlock`; `norm`, a layer norm; `out`, linear. Both embeddings begin as N(0, SPREAD²): places
    that begin much smaller than words are not learned in a short training, and an encoder without
    places sees a bag of words.

    Args:
        vocabulary: as in `tokenize`.
        length: L.
        dim: numbers of a word.
        layers: how many blocks.
        heads: of each, dividing dim.
        places: standard deviation of `place` at the start. With 0 there are no places, and none are
            learned.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        length: int,
        dim: int = 64,
        layers: int = 1,
        heads: int = 4,
        places: float = SPREAD,
    ):
        super().__init__()
        self.vocabulary, self.length, self.dim = tuple(vocabulary), length, dim
        self.word = nn.Embedding(len(vocabulary), dim)
        self.place = nn.Embedding(length, dim)
        self.blocks = nn.ModuleList(TextBlock(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim)
        nn.init.normal_(self.word.weight, std=SPREAD)
        nn.init.normal_(self.place.weight, std=places)
        self.place.weight.requires_grad_(places > 0)

    def forward(self, tokens: Tokens, mask: Mask) -> tuple[Features, Rows]:
        """A vector of each word in its context, and one of the whole caption.

        Args:
            tokens: numbers of words, from 1 to L of them.
            mask: True where a word is, False where padding is, whatever tokens hold there. Padding
                changes nothing: not the vectors of words, nor the pooled one, nor a gradient. It
                may stand anywhere: a word has the place of its column.
        Returns:
            `(words, pooled)`: (batch, length, dim), exactly 0 where padding is, and (batch, dim).
            A caption without words has the pooled vector out(0).
        Raises:
            ValueError: if tokens is not (batch, n) with n from 1 to L, or mask not one truth value
                for each token.
        """
        if tokens.dim() != 2 or not 1 <= tokens.shape[1] <= self.length:
            want = f"(batch, n), n from 1 to {self.length}"
            raise ValueError(f"tokens must be {want}, got {tuple(tokens.shape)}")
        if mask.shape != tokens.shape or mask.dtype != torch.bool:
            got = f"{mask.dtype} of {tuple(mask.shape)}"
            raise ValueError(f"mask must be bool of shape {tuple(tokens.shape)}, got {got}")
        ### BEGIN SOLUTION
        h = self.word(tokens) + self.place.weight[: tokens.shape[1]]
        for block in self.blocks:
            h = block(h, mask)
        words = self.norm(h) * mask[..., None]  # (batch, length, dim)
        count = mask.sum(1, keepdim=True).clamp(min=1)
        return words, self.out(words.sum(1) / count)
        ### END SOLUTION


def similarity(
    images: Float[Tensor, "n dim"], texts: Float[Tensor, "m dim"], log_scale: float | Tensor
) -> Float[Tensor, "n m"]:
    """How well images fit texts (Radford et al. 2021).

        s_ij = exp(log_scale) · ⟨u_i, v_j⟩ / (‖u_i‖ ‖v_j‖)

    The cosine of two vectors lies in [−1, 1], too narrow a range for a softmax over many texts.
    The scale is learned with the rest; as a logarithm it stays positive.

    Args:
        images: u, a vector of each image.
        texts: v, a vector of each text, as long.
        log_scale: one number, also as a tensor of shape ().
    Returns:
        s, a row for each image. Gradients flow into all three.
    Raises:
        ValueError: if images and texts are not (n, dim) and (m, dim).
    """
    if images.dim() != 2 or texts.dim() != 2 or images.shape[1] != texts.shape[1]:
        shapes = f"{tuple(images.shape)} and {tuple(texts.shape)}"
        raise ValueError(f"images and texts must be (n, dim) and (m, dim), got {shapes}")
    ### BEGIN SOLUTION
    scale = torch.as_tensor(log_scale, dtype=images.dtype).exp()
    return scale * F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T
    ### END SOLUTION


def contrastive_loss(scores: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """Which text belongs to which image? (van den Oord et al. 2018; CLIP, Radford et al. 2021)

        L = ½ (L_text + L_image),
        L_text  = −mean_i log softmax(s_i1, …, s_iN)_i,
        L_image = −mean_j log softmax(s_1j, …, s_Nj)_j

    Of N texts the right one of each image is to be found, and of N images that of each text. The
    best scores are s_ij = log [p(image_i, text_j) / (p(image_i) p(text_j))] + a constant. The mean
    of log N − L over batches of independent pairs is at most the mutual information of images and
    texts, for any scores. As L ≥ 0, it is never more than log N.

    Args:
        scores: s, of images in rows and texts in columns; pairs stand on the diagonal.
    Returns:
        L, one number. Right for scores of any size, as long as they are finite. Gradients flow.
    Raises:
        ValueError: if scores are not square.
    """
    if scores.dim() != 2 or scores.shape[0] != scores.shape[1] or not len(scores):
        raise ValueError(f"scores must be (n, n), n at least 1, got {tuple(scores.shape)}")
    ### BEGIN SOLUTION
    pairs = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, pairs) + F.cross_entropy(scores.T, pairs)) / 2
    ### END SOLUTION


def token_count(height: int, width: int, downsampling: int, patch: int, words: int = 0) -> int:
    """How many tokens a diffusion transformer works on, in an image model (slides 101–102).

        height / (D P) · width / (D P) + words

    The autoencoder makes an image smaller by D, and patchify makes a token of P×P latents. Where
    text and image attend jointly, the words are tokens as well. The cost of attention
    grows as the square of that number.

    Args:
        height, width: of the image, in pixels.
        downsampling: D, of each side.
        patch: P.
        words: tokens of text that stand beside those of the image.
    Returns:
        The number of tokens.
    Raises:
        ValueError: if a number is not positive (words: negative), or D · P does not divide a side.
            The message then names the multiples of D · P next to it.
    """
    if min(height, width, downsampling, patch) <= 0 or words < 0:
        got = f"{height}, {width}, {downsampling}, {patch} and {words}"
        raise ValueError(
            f"sides, downsampling and patch must be positive, words not less than 0, got {got}"
        )
    ### BEGIN SOLUTION
    cell = downsampling * patch
    for name, side in (("height", height), ("width", width)):
        if side % cell:
            low = side // cell * cell
            near = f"{low} or {low + cell}" if low else f"{cell}"
            raise ValueError(f"{name} must be a multiple of {cell}, such as {near}, got {side}")
    return (height // cell) * (width // cell) + words
    ### END SOLUTION
