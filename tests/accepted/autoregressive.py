"""Right answers to chapter 13, autoregressive models, written another way."""

import torch
import torch.nn.functional as F

from cs231n_gen.autoregressive import next_probabilities
from cs231n_gen.checking.variants import accepted
from cs231n_gen.given.frozen import frozen

# --- next_probabilities and sample --------------------------------------------------------------


def refuse_scores(logits, logits_null, temperature, top_k):
    if logits_null is not None and logits.shape != logits_null.shape:
        raise ValueError(f"both must be {tuple(logits.shape)}")
    if not temperature > 0:
        raise ValueError("temperature must be positive")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k must be at least 1")


@accepted("autoregressive.next_probabilities")
def by_powers(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    """Log-probabilities are scores as well."""
    refuse_scores(logits, logits_null, temperature, top_k)
    log_p = F.log_softmax(logits, -1)
    if logits_null is not None:
        log_p = log_p + w * (log_p - F.log_softmax(logits_null, -1))
    p = F.softmax(log_p / temperature, -1)
    if top_k is None or top_k >= logits.shape[1]:
        return p
    kept = torch.zeros_like(p).scatter(1, log_p.topk(top_k, 1).indices, 1.0)
    return F.normalize(p * kept, p=1, dim=1)


@accepted("autoregressive.next_probabilities")
def among_the_highest(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    """The softmax of k scores only, put back in their places."""
    refuse_scores(logits, logits_null, temperature, top_k)
    if logits_null is not None:
        logits = torch.lerp(logits_null, logits, 1 + w)
    k = min(top_k or logits.shape[-1], logits.shape[-1])
    values, places = logits.sort(-1, descending=True)
    p = F.softmax(values[:, :k] / temperature, -1)
    return torch.zeros_like(logits).scatter(-1, places[:, :k], p)


@accepted("autoregressive.next_probabilities")
def row_by_row(logits, logits_null=None, w=0.0, temperature=1.0, top_k=None):
    refuse_scores(logits, logits_null, temperature, top_k)
    rows = []
    for i, own in enumerate(logits):
        if logits_null is not None:
            own = own + w * own - w * logits_null[i]
        e = ((own - own.max()) / temperature).exp()
        if top_k is not None:
            mask = torch.zeros_like(e)
            mask[own.argsort(descending=True)[:top_k]] = 1
            e = e * mask
        rows.append(e / e.sum())
    return torch.stack(rows)


@accepted("autoregressive.sample")
@torch.no_grad()
def modes_by_hand(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
    modes = {part: part.training for part in prior.modules()}
    prior.eval()
    try:
        x, cache = torch.zeros(len(y), prior.length, dtype=torch.int64), None
        for t in range(prior.length):
            last = x[:, t - 1] if t else None
            if w:
                both, last = y.repeat(2), None if last is None else last.repeat(2)
                both[len(y) :] = prior.null
            else:
                both = y
            if cached:
                scores, cache = prior.step(last, both, cache)
            else:
                scores = prior(x.repeat(len(both) // len(y), 1), both)[:, t]
            halves = scores.chunk(2) if w else (scores,)
            options = {"w": w, "temperature": temperature, "top_k": top_k}
            p = next_probabilities(*halves, **options)
            x[:, t] = torch.multinomial(p, 1, generator=generator).squeeze(1)
        return x
    finally:
        for part, mode in modes.items():
            part.training = mode


@accepted("autoregressive.sample")
def by_sums(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
    """Draws by the sums of the probabilities, the half with ∅ first."""
    B, x, cache, new = len(y), [], None, None
    with frozen(prior), torch.inference_mode():
        for _ in range(prior.length):
            if w != 0:
                both = torch.cat([torch.full_like(y, prior.null), y])
                again = 2
            else:
                both, again = y, 1
            if cached:
                last = None if new is None else torch.cat([new] * again)
                scores, cache = prior.step(last, both, cache)
            else:
                known = torch.stack([*x, torch.zeros_like(y)], 1)
                scores = prior(torch.cat([known] * again), both)[:, -1]
            null = scores[:B] if w != 0 else None
            p = next_probabilities(scores[-B:], null, w, temperature, top_k)
            u = torch.rand(B, 1, generator=generator, dtype=torch.float64)
            sums = p.double().cumsum(1)
            likely = p.shape[1] - 1 - (p > 0).flip(1).int().argmax(1)  # the last that may come
            new = torch.minimum((sums <= u).sum(1), likely)
            x.append(new)
    return torch.stack(x, 1).clone()


@accepted("autoregressive.sample")
def by_a_race(prior, y, w=0.0, temperature=1.0, top_k=None, cached=True, generator=None):
    """Gumbel's trick: the highest of log p + G."""
    guided, x, cache = w != 0, y[:, None][:, :0], None
    with frozen(prior):
        while x.shape[1] < prior.length:
            both = torch.stack([y, torch.full_like(y, prior.null)], 1).flatten() if guided else y
            own = x.repeat_interleave(2, 0) if guided else x  # y and ∅ in turn
            if cached:
                last = own[:, -1] if x.shape[1] else None
                scores, cache = prior.step(last, both, cache)
            else:
                scores = prior(torch.cat([own, own.new_zeros(len(own), 1)], 1), both)[:, -1]
            one, other = (scores[::2], scores[1::2]) if guided else (scores, None)
            p = next_probabilities(one, other, w, temperature, top_k)
            noise = torch.empty_like(p).exponential_(generator=generator)
            x = torch.cat([x, (p / noise).argmax(1, keepdim=True)], 1)
    return x
