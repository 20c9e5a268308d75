"""All places at once: masked generation with the prior's own layers (beyond the slides; MaskGIT,
Chang et al. 2022). Given.

The causal prior asks its network once a token, 64 times for a garment. A Transformer whose tokens
see each other both ways can fill in many places in one call. It learns to fill in tokens that were
hidden at random. To write, it starts from hidden tokens alone; each call fills in all of them, and
those of which it is least sure are hidden again, fewer from call to call.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from cs231n_gen.autoregressive import Labels, Prior, Tokens, next_probabilities
from cs231n_gen.experiments import codes_trial, dit_trial, prior_trial
from cs231n_gen.experiments.few_steps_trial import GarmentScore
from cs231n_gen.given.data import Images
from cs231n_gen.given.frozen import frozen
from cs231n_gen.given.training import History

CALLS = 8
CHANCE = 4.0  # how much chance decides at first which tokens stay, against the network's confidence


class MaskedPrior(Prior):
    """The layers of `Prior` in which each token sees all others, `logits = prior(tokens, y)`.

    Row K of `token`, which is the start token there, stands for a hidden token. The scores at a
    place are those of its own token.
    """

    def forward(self, tokens: Tokens, y: Labels) -> Float[Tensor, "batch length vocabulary"]:
        """Scores of every place, from the tokens that are not K and from y."""
        h = self.embed(tokens, y)
        for block in self.blocks:
            h = h + block.attention(block.norm_1(h))
            h = h + block.mlp(block.norm_2(h))
        return self.out(self.norm(h))


def share_hidden(u: float) -> float:
    """How much is hidden when a share u of the way is done: cos(π u / 2), all at first, then none
    (Chang et al. 2022)."""
    return math.cos(math.pi * u / 2)


def hide(
    tokens: Tokens, vocabulary: int, generator: torch.Generator | None = None
) -> tuple[Tokens, Bool[Tensor, "batch length"]]:
    """Sequences with tokens hidden, in each a share of `share_hidden(u)` for a random u: at least
    one.

    Returns:
        `(tokens, hidden)`: K where one is hidden.
    """
    batch, length = tokens.shape
    u = torch.rand(batch, generator=generator)
    n = (length * torch.cos(math.pi * u / 2)).ceil().clamp(1, length)
    rank = torch.rand(batch, length, generator=generator).argsort(1).argsort(1)
    hidden = rank < n[:, None]
    return tokens.masked_fill(hidden, vocabulary), hidden


def masked_nats(generator: torch.Generator):
    """The loss of a `MaskedPrior` for `prior_trial.fit`: nats of the hidden tokens, times N over
    how many they are."""

    def loss(prior: MaskedPrior, tokens: Tokens, y: Labels) -> Float[Tensor, "batch"]:
        seen, hidden = hide(tokens, prior.vocabulary, generator)
        logits = prior(seen, y)
        nats = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none")
        nats = nats.reshape(tokens.shape).masked_fill(~hidden, 0.0)
        return nats.sum(1) * prior.length / hidden.sum(1)

    return loss


def fit(
    prior: MaskedPrior,
    data: prior_trial.TokenData,
    *,
    generator: torch.Generator | None = None,
    label: str = "masked prior",
    **options,
) -> History:
    """Train it to fill in hidden tokens; otherwise as `prior_trial.fit`."""
    g = torch.Generator().manual_seed(0) if generator is None else generator
    options |= {"loss": masked_nats(g), "generator": g, "label": label}
    return prior_trial.fit(prior, data, **options)


def fill_in(
    prior: MaskedPrior,
    y: Labels,
    *,
    calls: int = CALLS,
    w: float = 0.0,
    temperature: float = 1.0,
    chance: float = CHANCE,
    generator: torch.Generator | None = None,
) -> Int64[Tensor, "calls batch length"]:
    """Write sequences in a few calls of the network.

    In each call every hidden token is drawn from its probabilities. Then those with the lowest
    log p + chance · (1 − u) · Gumbel noise are hidden again, as many as `share_hidden(u)` says,
    where u is the share of the calls that are made. What once stayed is not changed any more.

    Args:
        prior: a `MaskedPrior`.
        y: a label for each sequence.
        calls: of the network, from 1 to the length.
        w: the weight of guidance. If it is not 0, the prior gets every sequence with ∅, too.
        temperature: of the tokens.
        chance: 0 keeps the surest tokens.
        generator: for tokens and noise.
    Returns:
        The sequences after each call, K where a token is still hidden; after the last none is.
    Raises:
        ValueError: if calls is not from 1 to the length.
    """
    B, N = len(y), prior.length
    if not 1 <= calls <= N:
        raise ValueError(f"calls must be from 1 to the length, {N}, got {calls}")
    labels = torch.cat([y, torch.full_like(y, prior.null)]) if w else y
    tokens = y.new_full((B, N), prior.vocabulary)
    kept = []
    with frozen(prior):
        for i in range(1, calls + 1):
            logits = prior(torch.cat([tokens, tokens]) if w else tokens, labels)
            own, null = logits[:B].flatten(0, 1), logits[B:].flatten(0, 1) if w else None
            p = next_probabilities(own, null, w, temperature)
            drawn = torch.multinomial(p, 1, generator=generator)
            sure = p.gather(1, drawn).log().reshape(B, N)
            gumbel = -torch.empty(B, N).exponential_(generator=generator).log()
            sure = sure + chance * (1 - i / calls) * gumbel
            hidden = tokens == prior.vocabulary
            tokens = torch.where(hidden, drawn.reshape(B, N), tokens)
            # at least one token stays in each call, and one is left for each call to come
            left = min(max(round(N * share_hidden(i / calls)), calls - i), int(hidden[0].sum()) - 1)
            if i < calls and left > 0:
                again = sure.masked_fill(~hidden, torch.inf).topk(left, largest=False).indices
                tokens = tokens.scatter(1, again, prior.vocabulary)
            kept.append(tokens)
    return torch.stack(kept)


def write(prior: MaskedPrior, y: Int64[Tensor, "n"], **options) -> Int64[Tensor, "n length"]:
    """Sequences for the classes asked for, by `fill_in`, some at a time."""
    parts = y.split(prior_trial.AT_ONCE)
    return torch.cat([fill_in(prior, some, **options)[-1] for some in parts])


@dataclass(frozen=True)
class MaskedTrial:
    """The results of a trial.

    seconds: of training each.
    steps: of training, the causal prior's and the masked one's.
    causal: scores by the weight of guidance.
    masked: scores by number of calls and weight of guidance.
    prior: the masked one.
    """

    seconds: float
    steps: tuple[int, int]
    causal: dict[float, GarmentScore]
    masked: dict[tuple[int, float], GarmentScore]
    prior: MaskedPrior

    def table(self) -> str:
        """All numbers, as text."""
        head = ["calls", "w", "right", "Fréchet", "precision", "recall", "spread", "a second"]
        lines = [
            f"{self.seconds:g} s of training each: {self.steps[0]} steps of the causal prior, "
            f"{self.steps[1]} of the masked one",
            f"{'':10}" + "".join(f"{word:>11}" for word in head),
        ]
        rows = [("causal", "all", w, s) for w, s in self.causal.items()]
        rows += [("masked", str(calls), w, s) for (calls, w), s in self.masked.items()]
        for name, calls, w, s in rows:
            cells = [calls, f"{w:g}", f"{s.right:.1%}"]
            cells += [f"{v:.2f}" for v in (s.frechet, s.precision, s.recall, s.spread)]
            cells.append(f"{s.a_second:.0f}")
            lines.append(f"{name:10}" + "".join(f"{cell:>11}" for cell in cells))
        return "\n".join(lines)


def trial(
    tokenizer: codes_trial.Tokenizer,
    train: Images,
    test: Images,
    *,
    seconds: float = 60.0,
    of_processor: bool = False,
    calls: Sequence[int] = (4, 8, 16, 64),
    weights: Sequence[float] = prior_trial.WEIGHTS,
    garments: int = 500,
    seed: int = 0,
    progress: bool = True,
    **sizes,
) -> MaskedTrial:
    """Train a causal and a masked prior of the same layers for the same time.

    Args:
        tokenizer, train, test, seconds, of_processor, weights, garments, seed, progress, sizes: as
            in `prior_trial.trial`.
        calls: of the masked prior.
    """
    space = prior_trial.codes_space(tokenizer)
    data = space.of(train)
    real = Images(dit_trial.for_judge(test.x), test.y)
    limits = {"seconds": seconds, "of_processor": of_processor, "progress": progress}
    shape = (space.vocabulary, space.length, seed)
    asked = {"garments": garments, "seed": seed + 1}

    causal = prior_trial.new(*shape, **sizes)
    g = torch.Generator().manual_seed(seed)
    history = prior_trial.fit(causal, data, generator=g, label="causal", **limits)
    one_by_one = {w: prior_trial.judged(causal, space, real, w=w, **asked).score for w in weights}
    masked = prior_trial.new(*shape, kind=MaskedPrior, **sizes)
    g = torch.Generator().manual_seed(seed)
    history_masked = fit(masked, data, generator=g, label="masked", **limits)
    at_once = {
        (n, w): prior_trial.judged(masked, space, real, writer=write, calls=n, w=w, **asked).score
        for n in calls
        for w in weights
    }
    steps = (len(history.losses), len(history_masked.losses))
    return MaskedTrial(seconds, steps, one_by_one, at_once, masked)
