"""Public checks of chapter 13, autoregressive models."""

import math

import pytest
import torch

from cs231n_gen.checking import expect

next_probabilities = pytest.mark.exercise("autoregressive.next_probabilities")
sample = pytest.mark.exercise("autoregressive.sample", graph=False)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# --- next_probabilities and sample --------------------------------------------------------------


def some_world(generator, labels=3, K=3, N=3, spread=1.5):
    """Scores for every label after every prefix; see `fakes.TablePrior`."""
    return spread * normal(generator, labels, sum(K**t for t in range(N)), K)


def shares(scores, null_scores=None, w=0.0, T=1.0, k=None):
    """The probabilities, in float64; for k no two scores may be equal."""
    scores = scores.double()
    if null_scores is not None:
        scores = scores + w * (scores - null_scores.double())
    e = ((scores - scores.max(-1, keepdim=True).values) / T).exp()
    if k is not None and k < e.shape[-1]:
        e = e * (e >= e.sort(-1, descending=True).values[..., k - 1 : k])
    return e / e.sum(-1, keepdim=True)


# --- autoregressive.next_probabilities

SCORES = torch.tensor([[9.0, 3.0, 1.0, 1.0], [1.0, 1.0, 2.0, 4.0]]).double().log()


def probabilities(student, scores, *args, **more):
    p = student.autoregressive.next_probabilities(scores, *args, **more)
    return expect.tensor(p, scores.shape, "the probabilities")


def close(p, want, says, tolerance=1e-12):
    want = torch.as_tensor(want, dtype=torch.float64)
    expect.close(p, want, says, atol=tolerance, rtol=tolerance, what="the probabilities")


@next_probabilities
def test_probabilities_of_scores(student, generator):
    """without guidance and limits each row is the softmax of its scores"""
    want = [[9 / 14, 3 / 14, 1 / 14, 1 / 14], [1 / 8, 1 / 8, 2 / 8, 4 / 8]]
    close(probabilities(student, SCORES), want, "scores log 9, log 3, log 1, log 1: 9 : 3 : 1 : 1")
    for B, K in ((3, 3), (1, 4), (4, 1)):
        scores = normal(generator, B, K)
        says = f"{B} rows of {K} scores: softmax of each row"
        close(probabilities(student, scores), shares(scores), says)


@next_probabilities
def test_guidance_on_scores(student):
    """guidance acts on the scores: ℓ = (1 + w) ℓ_y − w ℓ_∅"""
    null = torch.tensor([[3.0, 3.0, 1.0, 1.0], [1.0, 2.0, 2.0, 2.0]]).double().log()
    p = probabilities(student, SCORES, null, 1.0)
    want = torch.tensor([[27.0, 3, 1, 1], [1, 0.5, 2, 8]]).double()
    close(p, want / want.sum(1, keepdim=True), "w = 1: p_y² / p_∅, up to what makes the sum 1")
    p = probabilities(student, SCORES, null, -0.5)
    want = torch.tensor([[27.0, 9, 1, 1], [1, 2, 4, 8]]).double().sqrt()
    close(p, want / want.sum(1, keepdim=True), "w = −½: √(p_y p_∅), up to what makes the sum 1")


@next_probabilities
def test_special_weights(student, generator):
    """w = 0 leaves the condition as it is, w = −1 takes it away"""
    null = normal(generator, 2, 4)
    close(probabilities(student, SCORES, null, 0.0), shares(SCORES), "w = 0: p(x_t | y)")
    close(probabilities(student, SCORES, null), shares(SCORES), "w is 0 if none is given")
    close(probabilities(student, SCORES, null, -1.0), shares(null), "w = −1: p(x_t)")
    close(probabilities(student, SCORES, None, 2.0), shares(SCORES), "no ℓ_∅: no guidance")


@next_probabilities
def test_a_constant_changes_nothing(student, generator):
    """a constant added to a row of either scores changes nothing"""
    null, more = normal(generator, 2, 4), torch.tensor([[5.0], [-7.0]])
    want = shares(SCORES, null, 2.0, 0.7)
    for scores, other in ((SCORES + more, null), (SCORES, null + more)):
        p = probabilities(student, scores, other, 2.0, 0.7)
        close(p, want, "scores plus a constant a row", 1e-11)


@next_probabilities
def test_temperatures(student, generator):
    """the temperature divides the guided scores"""
    want = torch.tensor([[81.0, 9, 1, 1], [1, 1, 4, 16]]).double()
    p = probabilities(student, SCORES, temperature=0.5)
    close(p, want / want.sum(1, keepdim=True), "T = ½ squares the probabilities")
    null = normal(generator, 2, 4)
    p = probabilities(student, SCORES, null, 1.5, 2.0)
    close(p, shares(SCORES, null, 1.5, 2.0), "T = 2, with guidance")


@next_probabilities
def test_limits_of_temperature(student):
    """towards 0 the likeliest token is left, and high temperatures make all alike"""
    cold = probabilities(student, SCORES, temperature=1e-3)
    close(cold, [[1, 0, 0, 0], [0, 0, 0, 1]], "T = 0.001: the highest score only")
    hot = probabilities(student, SCORES, temperature=1e9)
    close(hot, torch.full((2, 4), 1 / 4), "T = 1e9: all alike", 1e-8)


@next_probabilities
def test_the_k_highest(student, generator):
    """only the k highest scores are left, with sum 1, the others are exactly 0"""
    p = probabilities(student, SCORES, top_k=2)
    close(p, [[9 / 12, 3 / 12, 0, 0], [0, 0, 2 / 6, 4 / 6]], "top_k = 2: the softmax among these")
    for k in (1, 3):
        scores = normal(generator, 3, 5)
        p = probabilities(student, scores, temperature=0.8, top_k=k)
        close(p, shares(scores, T=0.8, k=k), f"top_k = {k}: the softmax among these")
        expect.true(bool(((p != 0).sum(-1) == k).all()), f"top_k = {k}: so many are not 0", p)


@next_probabilities
def test_the_choice_comes_last(student):
    """the k highest are chosen among the guided scores"""
    null = torch.tensor([[27.0, 1.0, 1.0, 0.125], [1.0, 0.125, 2.0, 16.0]]).double().log()
    p = probabilities(student, SCORES, null, 1.0, top_k=2)
    want = [[0, 9 / 17, 0, 8 / 17], [0, 8 / 10, 2 / 10, 0]]
    close(p, want, "w = 1, top_k = 2: guidance first", 1e-11)


@next_probabilities
def test_all_are_kept(student, generator):
    """top_k as large as the vocabulary, or larger, keeps all"""
    for K in (1, 4):
        scores = normal(generator, 2, K)
        for k in (K, K + 1, 1000):
            says = f"top_k = {k} of {K}: all are kept"
            close(probabilities(student, scores, top_k=k), shares(scores), says)


@next_probabilities
def test_equal_scores_at_the_border(student):
    """of equal scores at the border any are kept, k in all"""
    scores = torch.tensor([[3.0, 2.0, 1.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0, 9.0]]).double()
    p = probabilities(student, scores, top_k=2).sort(-1, descending=True).values
    want = torch.tensor([[3.0, 2.0], [9.0, 0.0]]).double().softmax(1)
    close(p[:, :2], want, "top_k = 2: the highest, and one of the equal ones")
    close(p[:, 2:], torch.zeros(2, 3), "top_k = 2: the others have probability 0", 0.0)


@next_probabilities
def test_high_scores(student):
    """scores of any size give the right probabilities"""
    for size in (1e4, 1e8, 1e30):
        for dtype in (torch.float32, torch.float64):
            scores = torch.tensor([[size, -size, 0.0], [-size, -size, -2 * size]]).to(dtype)
            want, says = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], f"scores of ±{size:g}"
            close(probabilities(student, scores), want, says, 1e-6)
            close(probabilities(student, scores, -scores, 2.0, 0.5, 2), want, says, 1e-6)


@next_probabilities
def test_single_and_double_precision(student, generator):
    """probabilities have the precision of the scores"""
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
        scores, null = normal(generator, 2, 5).to(dtype), normal(generator, 2, 5).to(dtype)
        p = probabilities(student, scores, null, 1.5, 0.7, 3)
        expect.true(p.dtype == dtype, "another precision", p.dtype, dtype)
        close(p, shares(scores, null, 1.5, 0.7, 3), f"in {dtype}", tolerance)


@next_probabilities
def test_gradients_of_probabilities(student, generator):
    """gradients flow into both scores"""
    function = student.function("autoregressive.next_probabilities")
    for k in (None, 3):
        scores, null, c = (normal(generator, 2, 5) for _ in range(3))
        p = shares(scores, null, 1.5, 0.7, k)
        want = p * (c - (p * c).sum(-1, keepdim=True)) / 0.7
        args = [function, c, scores, null, 1.5, 0.7, k]
        found = student.gradient("checking.fakes.weighted", *args, wrt=[scores, null])
        for grad, factor, name in zip(found, (2.5, -1.5), ("ℓ_y", "ℓ_∅"), strict=True):
            expect.true(grad is not None, f"no gradient reaches {name}")
            close(grad, factor * want, f"top_k = {k}: the gradient to {name}", 1e-11)


@next_probabilities
def test_what_probabilities_refuse(student, generator):
    """other shapes, temperatures that are not positive, and top_k below 1 are refused"""
    call = student.autoregressive.next_probabilities
    for shape in ((1, 4), (2, 1), (3, 4), (4,)):
        null = normal(generator, *shape)
        says = f"ValueError for ℓ_∅ of shape {shape}, ℓ_y (2, 4): leave the lines above yours"
        expect.raises("ValueError", lambda null=null: call(SCORES, null, 1.0), says)
    for T in (0.0, -1.0, math.nan):
        says = f"ValueError for temperature {T}: leave the lines above yours"
        expect.raises("ValueError", lambda T=T: call(SCORES, temperature=T), says)
    for k in (0, -1):
        says = f"ValueError for top_k {k}: leave the lines above yours"
        expect.raises("ValueError", lambda k=k: call(SCORES, top_k=k), says)


# --- autoregressive.sample


def written(student, prior, y, *args, N=3, K=3, **more):
    x = student.autoregressive.sample(prior, y, *args, **more)
    x = expect.tensor(x, (len(y), N), "the tokens")
    expect.true(x.dtype == torch.int64, "tokens are whole numbers", x.dtype, torch.int64)
    inside = not x.numel() or 0 <= int(x.min()) <= int(x.max()) < K
    expect.true(inside, "tokens are numbers from 0 to K − 1", x, f"from 0 to {K - 1}")
    return x


def prior_of(student, table, N, null):
    """Scores from a table, in place of a net."""
    return student.new("checking.fakes.TablePrior", table, N, null)


def share_of_each(table, N, y, null, w=0.0, T=1.0, k=None):
    """The probability of every sequence, in the order of `numbers`."""
    K, p, first = table.shape[2], torch.ones(1).double(), 0
    for t in range(N):
        rows = slice(first, first + K**t)
        p = (p[:, None] * shares(table[y, rows], table[null, rows], w, T, k)).flatten()
        first += K**t
    return p


def numbers(x, K):
    """Sequences as numbers whose digits are the tokens."""
    return (x * K ** torch.arange(x.shape[1] - 1, -1, -1)).sum(1)


def fits(outcomes, p, says):
    """A test of χ² whether outcomes, numbers from 0, come as often as p says."""
    n = len(outcomes)
    counts = torch.bincount(outcomes, minlength=len(p)).double()
    expect.true(not counts[p == 0].any(), f"{says}: something came that has probability 0")
    rare = n * p < 5
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    want = n * torch.cat([p[~rare], p[rare].sum()[None]])
    counts, want = counts[want > 0], want[want > 0]
    freedom = max(1, len(counts) - 1)
    chi = float(((counts - want).square() / want).sum()) / freedom
    far = (chi ** (1 / 3) - 1 + 2 / (9 * freedom)) / math.sqrt(2 / (9 * freedom))
    expect.true(far < 5, says, f"χ² a degree of freedom {chi:.3g}", "about 1")


def likeliest(table, N, y, null, w=0.0):
    """The sequences that always take the token with the highest score."""
    K, rows, found = table.shape[2], torch.zeros_like(y), []
    for _ in range(N):
        x = shares(table[y, rows], table[torch.full_like(y, null), rows], w).argmax(-1)
        found.append(x)
        rows = K * rows + 1 + x
    return torch.stack(found, 1)


def calls_of(prior, N, way):
    """What the prior was asked, call by call: tokens, labels."""
    ways = prior.get("ways")
    says = f"{N} tokens cost {N} calls, all of them of prior{'.step' if way == 'step' else ''}"
    expect.true(ways == [way] * N, says, ", ".join(ways), ", ".join([way] * N))
    return [*zip(prior.get("known"), prior.get("labels"), strict=True)]


def questions(x, y):
    """Rows of tokens and labels, whatever their order."""
    return sorted(torch.cat([x, y[:, None]], 1).tolist())


@sample
def test_frequencies(student, generator):
    """sequences come as often as Π p(x_t | x_<t, y) says"""
    for cached in (True, False):
        table, y = some_world(generator), torch.arange(4000) % 2
        x = written(student, prior_of(student, table, 3, 2), y, cached=cached, generator=generator)
        for label in (0, 1):
            says = f"label {label}: how often each sequence comes"
            fits(numbers(x[y == label], 3), share_of_each(table, 3, label, 2), says)


@sample
def test_guided_frequencies(student, generator):
    """guidance acts token by token, for weights of any sign"""
    for w, cached in ((2.0, True), (-0.7, False)):
        table, y = some_world(generator), torch.arange(6000) % 2
        prior = prior_of(student, table, 3, 2)
        x = written(student, prior, y, w, cached=cached, generator=generator)
        for label in (0, 1):
            says = f"w = {w:g}, label {label}: guide the scores of each token"
            fits(numbers(x[y == label], 3), share_of_each(table, 3, label, 2, w), says)


@sample
def test_frequencies_at_other_temperatures(student, generator):
    """temperature and top_k limit every token"""
    for T, k, w in ((0.5, None, 0.0), (2.0, None, 1.0), (1.5, 2, 1.0)):
        table, y = some_world(generator, K=4, N=2), torch.zeros(4000).long()
        prior = prior_of(student, table, 2, 2)
        x = written(student, prior, y, w, T, k, generator=generator, N=2, K=4)
        says = f"w = {w:g}, temperature = {T:g}, top_k = {k}"
        fits(numbers(x, 4), share_of_each(table, 2, 0, 2, w, T, k), says)


@sample
def test_the_cache_changes_nothing(student, generator):
    """with a cache and without, the same seed gives the same tokens"""
    for w, T, k in ((0.0, 1.0, None), (1.5, 0.8, 3)):
        table = some_world(generator, labels=5, K=4, N=4)
        y, found = torch.arange(20) % 4, []
        for cached in (True, False):
            generator.manual_seed(7)
            prior = prior_of(student, table, 4, 4)
            found.append(written(student, prior, y, w, T, k, cached, generator, N=4, K=4).double())
        says = f"w = {w:g}, temperature = {T:g}, top_k = {k}: cached or not"
        expect.close(found[0], found[1], says, what="the tokens")


@sample
def test_the_likeliest_sequence(student, generator):
    """where one token is far likelier than the others, it is taken"""
    table, y = some_world(generator, labels=6, K=4, N=4), torch.tensor([3, 0, 5, 1, 4, 0])
    for cached in (True, False):
        for w in (0.0, 1.5):
            prior = prior_of(student, table, 4, 2)
            x = written(student, prior, y, w, 1e-6, None, cached, generator, N=4, K=4)
            says = f"w = {w:g}, temperature 1e-6: the highest scores of each label"
            expect.close(x, likeliest(table, 4, y, 2, w), says, what="the tokens")


@sample
def test_what_is_asked_with_a_cache(student, generator):
    """with a cache prior.step is asked once a token, about the tokens written so far"""
    prior, y = prior_of(student, some_world(generator, 5, 4, 4), 4, 4), torch.tensor([3, 0, 2, 0])
    x = written(student, prior, y, generator=generator, N=4, K=4)
    for t, (known, labels) in enumerate(calls_of(prior, 4, "step")):
        says = f"token {t + 1}: last and cache hold the tokens before it"
        expect.true(questions(known, labels) == questions(x[:, :t], y), says, known, x[:, :t])


@sample
def test_what_is_asked_without_a_cache(student, generator):
    """without a cache the prior is asked once a token, about the tokens written so far"""
    prior, y = prior_of(student, some_world(generator, 5, 4, 4), 4, 4), torch.tensor([3, 0, 2, 0])
    x = written(student, prior, y, cached=False, generator=generator, N=4, K=4)
    for t, (known, labels) in enumerate(calls_of(prior, 4, "forward")):
        says = f"token {t + 1}: the prior gets the tokens before it, and one more"
        known = known[:, :t]
        expect.true(questions(known, labels) == questions(x[:, :t], y), says, known, x[:, :t])


@sample
def test_what_is_asked_for_guidance(student, generator):
    """guidance asks about every sequence with y and with ∅ in one call, and w = 0 only with y"""
    for cached, w, null in ((True, 1.5, 3), (False, -1.0, 0), (True, 0.0, 3), (False, 0.0, 3)):
        y = torch.tensor([2, 1, 4, 5, 1])
        prior = prior_of(student, some_world(generator, 6, 4, 3), 3, null)
        x = written(student, prior, y, w, cached=cached, generator=generator, K=4)
        nothing = torch.full_like(y, null)
        both = (torch.cat([x, x]), torch.cat([y, nothing])) if w else (x, y)
        for t, (known, labels) in enumerate(calls_of(prior, 3, "step" if cached else "forward")):
            says = f"w = {w:g}: each sequence with y{f', and with ∅ = {null}' if w else ''}"
            want = questions(both[0][:, :t], both[1])
            expect.true(questions(known[:, :t], labels) == want, says, labels, both[1])


@sample
def test_the_prior_is_in_eval_mode(student, generator):
    """the prior is asked in eval mode, without a graph, and left in the mode it was in"""
    table, y = some_world(generator), torch.tensor([0, 1, 1])
    for cached in (True, False):
        for mode in ("train", "half_frozen", "put_to_use"):
            prior = prior_of(student, table, 3, 2)
            prior.call(mode)
            x = written(student, prior, y, 1.0, 1e-6, None, cached, generator)
            says = f"a prior in mode {mode}: no part trains while it is asked"
            modes = prior.get("modes")
            expect.true(not any(trains for trains, _ in modes), says)
            expect.true(not any(graph for _, graph in modes), "a graph is recorded")
            expect.close(x, likeliest(table, 3, y, 2, 1.0), says, what="the tokens")


@sample
def test_sequences_of_every_size(student, generator):
    """one sequence, one token, a vocabulary of one, and scores in single precision"""
    for B, N, K, w in ((1, 3, 3, 1.5), (4, 1, 3, 0.0), (3, 2, 1, 1.5), (1, 1, 1, 0.0)):
        for cached in (True, False):
            table, y = some_world(generator, K=K, N=N).float(), torch.arange(B) % 2
            prior = prior_of(student, table, N, 2)
            how = {"cached": cached, "generator": generator, "N": N, "K": K}
            x = written(student, prior, y, w, 1e-6, **how)
            says = f"{B} sequences of {N} tokens out of {K}"
            expect.close(x, likeliest(table, N, y, 2, w), says, what="the tokens")


@sample
def test_draws_of_their_own(student, generator):
    """each sequence and each place has draws of its own"""
    p = torch.tensor([0.5, 0.3, 0.2]).double()
    table = p.log().expand(2, 4, 3)  # p(x_2) is p(x_1), whatever x_1 is
    prior, y = prior_of(student, table, 2, 1), torch.zeros(4000).long()
    x = written(student, prior, y, generator=generator, N=2)
    pairs = (p[:, None] * p).flatten()
    fits(numbers(x, 3), pairs, "the tokens of a sequence know of each other")
    for k in (1, 2000):
        two = torch.stack([x[:, 0], x[:, 0].roll(k)], 1)[: 4000 // min(k, 2)]
        fits(numbers(two, 3), pairs, f"sequences {k} apart know of each other")


@sample
def test_the_seed_decides(student, generator):
    """the same seed gives the same tokens, another one others, and none is needed"""
    table, y = some_world(generator, spread=0.5, N=4), torch.arange(40) % 2
    for cached in (True, False):
        prior, more = prior_of(student, table, 4, 2), {"cached": cached, "N": 4}

        def seeded(seed, prior=prior, more=more):
            generator.manual_seed(seed)
            return written(student, prior, y, generator=generator, **more)

        one = seeded(1)
        following = written(student, prior, y, generator=generator, **more)
        says = "the generator's next tokens are the same"
        expect.true(not torch.equal(one, following), says)
        expect.close(seeded(1), one, "a seed does not repeat the tokens", what="the tokens")
        expect.true(not torch.equal(seeded(2), one), "another seed gives the same tokens")
    free = [student.autoregressive.sample(prior, y).tolist() for _ in range(2)]
    expect.true(free[0] != free[1], "without a generator two calls give the same tokens")


@sample
def test_what_sample_refuses(student, generator):
    """temperatures that are not positive and top_k below 1 are refused"""
    prior = prior_of(student, some_world(generator), 3, 2)
    y, call = torch.zeros(2).long(), student.autoregressive.sample
    prior.call("eval")
    for c in (True, False):
        for T in (0.0, -1.0, math.nan):
            says = f"ValueError for temperature {T}, as next_probabilities"
            expect.raises("ValueError", lambda T=T, c=c: call(prior, y, 1.0, T, cached=c), says)
        for k in (0, -2):
            says = f"ValueError for top_k {k}, as next_probabilities"
            expect.raises("ValueError", lambda k=k, c=c: call(prior, y, top_k=k, cached=c), says)
