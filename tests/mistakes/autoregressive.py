"""Typical wrong answers to chapter 13, autoregressive models, each with the sentence that explains
it."""

import torch

from cs231n_gen.autoregressive import next_probabilities
from cs231n_gen.checking.variants import mistake, several
from cs231n_gen.given.frozen import frozen

# --- next_probabilities and sample --------------------------------------------------------------


def unfit_scores(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    if logits_null is not None and logits_null.shape != logits.shape:
        raise ValueError("both scores must be of one shape")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")


# What the lines above a stub's gap refuse; see `variants.load`.
REFUSED = {"autoregressive.next_probabilities": unfit_scores}


def guide(logits, logits_null, w):
    return logits if logits_null is None else (1 + w) * logits - w * logits_null


def highest(logits, k, fill=-torch.inf):
    """The k highest scores, the others filled."""
    if k is None or k >= logits.shape[-1]:
        return logits
    kept = logits.topk(k, -1).indices
    return torch.full_like(logits, fill).scatter(-1, kept, logits.gather(-1, kept))


@mistake(
    "autoregressive.next_probabilities",
    "You multiply by the temperature. It divides: high ones make the tokens alike.",
)
def hot_is_sharp(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w) * temperature, top_k).softmax(-1)


@mistake("autoregressive.next_probabilities", "The temperature is not looked at: ℓ / T.")
def no_temperature(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w), top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Your temperature divides probabilities, where it cancels or changes little. It divides the "
    "scores, before the softmax.",
)
def temperature_of_probabilities(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    p = highest(guide(logits, logits_null, w), top_k).softmax(-1) / temperature
    return p / p.sum(-1, keepdim=True)


@mistake(
    "autoregressive.next_probabilities",
    "Only ℓ_y is divided by the temperature, before guidance. It divides ℓ, which is guided.",
)
def temperature_of_one(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits / temperature, logits_null, w), top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "You guide probabilities, which become negative where p_∅ is large. Guidance acts on scores: "
    "softmax comes last.",
)
def guided_probabilities(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    p = (logits / temperature).softmax(-1)
    if logits_null is not None:
        p = guide(p, (logits_null / temperature).softmax(-1), w).clamp(min=0)
    p = highest(p, top_k, 0.0)
    return p / p.sum(-1, keepdim=True)


@mistake(
    "autoregressive.next_probabilities",
    "You weigh as other papers do: ℓ_∅ + s (ℓ_y − ℓ_∅), where s = 1 + w. Here w = 0 leaves the "
    "condition as it is.",
)
def scale_of_others(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    if logits_null is not None:
        logits = logits_null + w * (logits - logits_null)
    return highest(logits / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The sign of w is wrong: away from ℓ_∅ is (1 + w) ℓ_y − w ℓ_∅.",
)
def towards_null(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, -w) / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "ℓ_y and ℓ_∅ are exchanged: 1 + w belongs to the scores with the condition.",
)
def scores_exchanged(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    if logits_null is not None:
        logits = guide(logits_null, logits, w)
    return highest(logits / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The factors of guidance do not sum to 1: it is 1 + w at ℓ_y, not 1.",
)
def one_and_minus_w(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = logits if logits_null is None else logits - w * logits_null
    return highest(logits / temperature, top_k).softmax(-1)


@mistake("autoregressive.next_probabilities", "ℓ_∅ is not looked at: there is no guidance.")
def unguided(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(logits / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Only positive weights guide in yours. w may be negative: towards ℓ_∅.",
)
def positive_weights_only(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    if w > 0:
        logits = guide(logits, logits_null, w)
    return highest(logits / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Without ℓ_∅ your scores are multiplied by 1 + w. Then there is no guidance, whatever w is.",
)
def null_scores_of_0(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, torch.zeros_like(logits) if logits_null is None else logits_null, w)
    return highest(logits / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The k smallest scores are kept, and the likely tokens hidden: torch.topk takes the largest.",
)
def the_k_smallest(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / temperature
    hidden = highest(-logits, top_k) == -torch.inf
    return logits.masked_fill(hidden, -torch.inf).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The k highest of ℓ_y are kept, and guided afterwards. Guidance comes first: it changes which "
    "are the highest.",
)
def chosen_before_guidance(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    hidden = highest(logits, top_k) == -torch.inf
    logits = guide(logits, logits_null, w) / temperature
    return logits.masked_fill(hidden, -torch.inf).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "top_k is not looked at.",
)
def all_tokens(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return (guide(logits, logits_null, w) / temperature).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "The probabilities that are kept do not sum to 1: hide the other scores before the softmax.",
)
def not_renormalised(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest((guide(logits, logits_null, w) / temperature).softmax(-1), top_k, 0.0)


@mistake(
    "autoregressive.next_probabilities",
    "Scores that are hidden become 0, which is a score like any other. They must become −∞.",
)
def hidden_by_0(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w) / temperature, top_k, 0.0).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "More than k tokens are kept where scores at the border are equal. Take them by their place, "
    "from torch.topk, and not by comparison with the k-th score.",
)
def ties_kept(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        border = logits.topk(top_k, -1).values[:, -1:]
        logits = logits.masked_fill(logits < border, -torch.inf)
    return logits.softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "One token fewer than top_k is kept.",
)
def one_fewer(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / temperature
    return highest(logits, top_k and max(1, top_k - 1)).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "top_k may be larger than the vocabulary: then all are kept. torch.topk refuses it.",
    sure=True,
)
def too_many_refused(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    logits = guide(logits, logits_null, w) / temperature
    if top_k is not None:
        kept = logits.topk(top_k, -1).indices
        hidden = torch.ones_like(logits, dtype=torch.bool).scatter(-1, kept, False)
        logits = logits.masked_fill(hidden, -torch.inf)
    return logits.softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Your softmax runs over the batch. Tokens compete within a row: the last axis.",
)
def over_the_batch(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w) / temperature, top_k).softmax(0).nan_to_num()


@mistake(
    "autoregressive.next_probabilities",
    "exp of large scores is infinite. softmax subtracts the highest score of a row before.",
)
def overflowing(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    e = highest(guide(logits, logits_null, w) / temperature, top_k).exp()
    return e / e.sum(-1, keepdim=True)


@mistake(
    "autoregressive.next_probabilities",
    "The result is cut out of the graph: no gradient reaches the scores.",
    sure=True,
)
def without_a_graph(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w) / temperature, top_k).softmax(-1).detach()


@mistake(
    "autoregressive.next_probabilities",
    "ℓ_∅ is cut out of the graph. Gradients flow into both scores.",
)
def null_detached(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    null = None if logits_null is None else logits_null.detach()
    return highest(guide(logits, null, w) / temperature, top_k).softmax(-1)


@mistake(
    "autoregressive.next_probabilities",
    "Log-probabilities come back. Tokens are drawn from probabilities: softmax, without a log.",
)
def logarithms(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    return highest(guide(logits, logits_null, w) / temperature, top_k, -1e30).log_softmax(-1)


# --- autoregressive.sample


def draw(p, generator):
    return torch.multinomial(p, 1, generator=generator)


def doubled(x, guided):
    return torch.cat([x, x]) if guided else x


def write(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None, **other):
    """The reference, but for what `other` says: how tokens are drawn, what is asked, and more."""
    take = other.get("take", draw)
    chances = other.get("chances", next_probabilities)
    null = other.get("null", prior.null)
    guided = other.get("guided", w != 0)
    feed = other.get("feed", lambda tokens, t: tokens[:, t - 1])  # the last of t tokens
    labels = torch.cat([y, torch.full_like(y, null)]) if guided else y
    labels = other.get("label", lambda labels: labels)(labels)
    tokens, cache = y.new_empty(len(y), 0), None
    with other.get("using", frozen)(prior):
        for t in range(prior.length):
            if cached:
                last = None if t == 0 else doubled(feed(tokens, t), guided)
                old = other.get("remember", lambda cache: cache)(cache)
                logits, cache = prior.step(last if old is not None else None, labels, old)
            else:
                known = torch.cat([tokens, torch.zeros_like(y)[:, None]], 1)
                place = other.get("place", lambda t: t)(t)
                logits = prior(doubled(known, guided), labels)[:, place]
            halves = (logits[: len(y)], logits[len(y) :]) if guided else (logits, None)
            p = chances(*other.get("halves", lambda *h: h)(*halves), w, temperature, top_k)
            tokens = torch.cat([tokens, take(p, generator)], 1)
    return tokens


def another(name, says, **other):
    """A row of a table of mistakes."""

    def wrong(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
        return write(prior, y, w, temperature, top_k, cached, generator, **other)

    return name, says, wrong


def one_for_all(p, generator):
    u = torch.rand(1, generator=generator, dtype=torch.float64)
    return by_levels(p, u.expand(len(p)))


def by_levels(p, u):
    """The tokens at which the sums of probabilities pass u."""
    return (p.double().cumsum(-1) < u[:, None]).sum(-1, keepdim=True).clamp(max=p.shape[1] - 1)


MISTAKES = several(
    "autoregressive.sample",
    another(
        "always_the_likeliest",
        "You always take the likeliest token. It is drawn: torch.multinomial.",
        take=lambda p, generator: p.argmax(-1, keepdim=True),
    ),
    another(
        "one_draw_for_all",
        "One number decides for the whole batch. Each sequence has draws of its own.",
        take=one_for_all,
    ),
    another(
        "generator_ignored",
        "The generator is not used.",
        take=lambda p, generator: torch.multinomial(p, 1),
    ),
    another(
        "null_is_10",
        "The number of ∅ is written into your code. It depends on how many classes there are: "
        "prior.null.",
        null=10,
    ),
    another(
        "guided_also_for_0",
        "For w = 0 the prior is asked about ∅, too. The tokens are right, but cost twice as much.",
        guided=True,
    ),
    another(
        "halves_exchanged",
        "Both halves are exchanged: the first scores of next_probabilities are those with y.",
        halves=lambda a, b: (a, b) if b is None else (b, a),
    ),
    another(
        "train_mode",
        "The prior is asked in the mode that it is in. Dropout must be off: `with frozen(prior)`.",
        using=lambda prior: torch.no_grad(),
    ),
    another(
        "nothing_remembered",
        "The cache that step returns is not passed on: the prior begins anew at every token.",
        remember=lambda cache: None,
    ),
    another(
        "one_place_early",
        "Without a cache you take the scores of place t − 1. `logits[:, t]` are those of the token "
        "at t.",
        place=lambda t: max(0, t - 1),
    ),
    another(
        "the_one_before_the_last",
        "With a cache, step gets the token before the last one.",
        feed=lambda tokens, t: tokens[:, max(0, t - 2)],
    ),
    another(
        "temperature_ignored",
        "temperature is not passed on to next_probabilities.",
        chances=lambda a, b, w, T, k: next_probabilities(a, b, w, 1.0, k),
    ),
    another(
        "top_k_ignored",
        "top_k is not passed on to next_probabilities.",
        chances=lambda a, b, w, T, k: next_probabilities(a, b, w, T),
    ),
)
