"""Hidden graders of chapter 13, autoregressive models: held to theory first (softmax in closed
form, exact probabilities of all sequences of tiny worlds)."""

import math

import pytest
import torch

from cs231n_gen.checking import draws, expect

next_probabilities = pytest.mark.exercise("autoregressive.next_probabilities")
sample = pytest.mark.exercise("autoregressive.sample", graph=False)


def uniform(generator, low, high):
    return low + (high - low) * float(torch.rand(1, generator=generator, dtype=torch.float64))


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# --- next_probabilities and sample --------------------------------------------------------------


def some_world(generator, labels=3, K=3, N=3, spread=1.5):
    """Scores for every label after every prefix; see `fakes.TablePrior`."""
    prefixes = sum(K**t for t in range(N))
    return spread * normal(generator, labels, prefixes, K)


def shares(scores, null_scores=None, w=0.0, T=1.0, k=None):
    """The probabilities, in float64."""
    scores = scores.double()
    if null_scores is not None:
        scores = scores + w * (scores - null_scores.double())
    e = ((scores - scores.max(-1, keepdim=True).values) / T).exp()
    if k is not None and k < e.shape[-1]:
        border = e.sort(-1, descending=True).values[..., k - 1 : k]
        e = e * (e >= border)  # where no two are equal
    return e / e.sum(-1, keepdim=True)


# --- autoregressive.next_probabilities


def probabilities(student, scores, *args, **more):
    p = student.autoregressive.next_probabilities(scores, *args, **more)
    return expect.tensor(p, scores.shape, "the probabilities")


def close(p, want, says, tolerance=1e-12):
    expect.close(p, want, says, atol=tolerance, rtol=tolerance, what="the probabilities")


@next_probabilities(weight=2)
def test_probabilities_of_scores(student, generator):
    """without guidance and limits each row is the softmax of its scores"""
    for B, K in ((5, 7), (1, 4), (6, 1), (3, 3), (2, 512)):
        scores = 2 * normal(generator, B, K)
        p = probabilities(student, scores)
        close(p, shares(scores), f"{B} rows of {K} scores: softmax of each row", 1e-13)


@next_probabilities(weight=3)
def test_guidance_on_scores(student, generator):
    """guidance acts on the scores: ℓ = (1 + w) ℓ_y − w ℓ_∅, for weights of any sign"""
    for w in (uniform(generator, 0.3, 4), -uniform(generator, 0.1, 0.9), -2.5, 9.0):
        scores, null = 2 * normal(generator, 4, 6), 2 * normal(generator, 4, 6)
        says = f"w = {w:.3g}: softmax of (1 + w) ℓ_y − w ℓ_∅"
        close(probabilities(student, scores, null, w), shares(scores, null, w), says)


@next_probabilities
def test_special_weights(student, generator):
    """w = 0 leaves the condition as it is, w = −1 takes it away"""
    scores, null = normal(generator, 4, 5), normal(generator, 4, 5)
    close(probabilities(student, scores, null, 0.0), shares(scores), "w = 0: p(x_t | y)")
    close(probabilities(student, scores, null), shares(scores), "w is 0 if none is given")
    close(probabilities(student, scores, null, -1.0), shares(null), "w = −1: p(x_t)")
    w = uniform(generator, 1, 3)
    close(probabilities(student, scores, None, w), shares(scores), "no ℓ_∅: no guidance")
    close(probabilities(student, scores, scores, w), shares(scores), "ℓ_∅ = ℓ_y: no guidance")


@next_probabilities
def test_a_constant_changes_nothing(student, generator):
    """a constant added to a row of either scores changes nothing"""
    scores, null = normal(generator, 4, 5), normal(generator, 4, 5)
    w, T, k = uniform(generator, 1, 3), uniform(generator, 0.5, 2), 3
    want = shares(scores, null, w, T, k)
    more, other = 9 * normal(generator, 4, 1), 9 * normal(generator, 4, 1)
    for a, b in ((scores + more, null), (scores, null + other), (scores + more, null + other)):
        p = probabilities(student, a, null if b is null else b, w, T, k)
        close(p, want, "scores plus a constant a row", 1e-11)


@next_probabilities(weight=2)
def test_temperatures(student, generator):
    """the temperature divides the guided scores"""
    for T in (uniform(generator, 0.2, 0.8), uniform(generator, 1.5, 4), 1, 2):
        scores, null = normal(generator, 4, 6), normal(generator, 4, 6)
        says = f"T = {T:.3g}: softmax(ℓ / T)"
        close(probabilities(student, scores, temperature=T), shares(scores, T=T), says)
        w = uniform(generator, 1, 3)
        close(probabilities(student, scores, null, w, T), shares(scores, null, w, T), says)


@next_probabilities
def test_limits_of_temperature(student, generator):
    """towards 0 the likeliest token is left, and high temperatures make all alike"""
    scores = torch.stack([torch.randperm(6, generator=generator) for _ in range(5)]).double()
    cold = probabilities(student, scores, temperature=1e-3)
    close(cold, torch.eye(6).double()[scores.argmax(-1)], "T = 0.001: the highest score only")
    hot = probabilities(student, scores, temperature=1e9)
    close(hot, torch.full((5, 6), 1 / 6), "T = 1e9: all alike", 1e-8)


@next_probabilities(weight=3)
def test_the_k_highest(student, generator):
    """only the k highest scores are left, with sum 1, the others are exactly 0"""
    for k in (1, 2, 4, 6):
        scores, T = 2 * normal(generator, 5, 7), uniform(generator, 0.5, 2)
        p = probabilities(student, scores, temperature=T, top_k=k)
        expect.true(bool(((p != 0).sum(-1) == k).all()), f"top_k = {k}: so many are not 0", p)
        close(p, shares(scores, T=T, k=k), f"top_k = {k}: the softmax among these", 1e-13)


@next_probabilities(weight=2)
def test_the_choice_comes_last(student, generator):
    """the k highest are chosen among the guided scores"""
    for k in (1, 2, 3):
        scores, null = normal(generator, 8, 6), 2 * normal(generator, 8, 6)
        w, T = uniform(generator, 1, 4), uniform(generator, 0.5, 2)
        p = probabilities(student, scores, null, w, T, k)
        close(p, shares(scores, null, w, T, k), f"w = {w:.3g}, top_k = {k}: guidance first")


@next_probabilities
def test_all_are_kept(student, generator):
    """top_k as large as the vocabulary, or larger, keeps all"""
    for K in (1, 5):
        scores = normal(generator, 3, K)
        for k in (K, K + 1, 1000):
            says = f"top_k = {k} of {K}: all are kept"
            close(probabilities(student, scores, top_k=k), shares(scores), says)


@next_probabilities
def test_equal_scores_at_the_border(student, generator):
    """of equal scores at the border any are kept, k in all"""
    for k in (2, 3, 4):
        scores = torch.tensor([3.0, 1.0, 1.0, 1.0, 1.0, 0.0, -2.0]).double()
        scores = torch.stack([scores[torch.randperm(7, generator=generator)] for _ in range(4)])
        p = probabilities(student, scores, top_k=k)
        expect.true(bool(((p != 0).sum(-1) == k).all()), f"top_k = {k}: so many are not 0", p)
        want = torch.tensor([3.0, *[1.0] * (k - 1)]).double().softmax(0)
        want = torch.cat([want, torch.zeros(7 - k).double()]).expand(4, 7)
        found = p.sort(-1, descending=True).values
        close(found, want, f"top_k = {k}: the highest, and {k - 1} of four equal ones")
    same = probabilities(student, torch.zeros(3, 5), top_k=2)
    want = torch.tensor([0.5, 0.5, 0, 0, 0]).expand(3, 5)
    close(same.sort(-1, descending=True).values, want, "two of five equal scores, ½ each", 1e-6)


@next_probabilities
def test_high_scores(student, generator):
    """scores of any size give the right probabilities"""
    for size in (1e4, 1e8, 1e30):
        for dtype in (torch.float32, torch.float64):
            scores = torch.tensor([[size, -size, 0.0], [-size, -size, -2 * size]]).to(dtype)
            want = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]).double()
            says = f"scores of ±{size:g}"
            close(probabilities(student, scores), want, says, 1e-6)
            close(probabilities(student, scores, -scores, 2.0, 0.5), want, says, 1e-6)
            close(probabilities(student, scores, top_k=2), want, says, 1e-6)


@next_probabilities
def test_single_and_double_precision(student, generator):
    """probabilities have the precision of the scores"""
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
        scores, null = normal(generator, 3, 5).to(dtype), normal(generator, 3, 5).to(dtype)
        p = probabilities(student, scores, null, 1.5, 0.7, 3)
        expect.true(p.dtype == dtype, "another precision", p.dtype, dtype)
        close(p, shares(scores, null, 1.5, 0.7, 3), f"in {dtype}", tolerance)


@next_probabilities(weight=2)
def test_gradients_of_probabilities(student, generator):
    """gradients flow into both scores"""
    function = student.function("autoregressive.next_probabilities")
    for k in (None, 3):
        scores, null, c = (normal(generator, 4, 6) for _ in range(3))
        w, T = uniform(generator, 0.5, 3), uniform(generator, 0.5, 2)
        p = shares(scores, null, w, T, k)
        want = p * (c - (p * c).sum(-1, keepdim=True)) / T
        args = [function, c, scores, null, w, T, k]
        found = student.gradient("checking.fakes.weighted", *args, wrt=[scores, null])
        for grad, factor, name in zip(found, (1 + w, -w), ("ℓ_y", "ℓ_∅"), strict=True):
            expect.true(grad is not None, f"no gradient reaches {name}")
            close(grad, factor * want, f"top_k = {k}: the gradient to {name}", 1e-11)


@next_probabilities
def test_what_probabilities_refuse(student, generator):
    """other shapes, temperatures that are not positive, and top_k below 1 are refused"""
    scores, call = normal(generator, 3, 4), student.autoregressive.next_probabilities
    for shape in ((1, 4), (3, 1), (2, 4), (3, 5), (4,)):
        null = normal(generator, *shape)
        says = f"ValueError for ℓ_∅ of shape {shape}, ℓ_y (3, 4)"
        expect.raises("ValueError", lambda null=null: call(scores, null, 1.0), says)
    for T in (0.0, -1.0, math.nan, -math.inf):
        says = f"ValueError for temperature {T}"
        expect.raises("ValueError", lambda T=T: call(scores, temperature=T), says)
    for k in (0, -1):
        expect.raises("ValueError", lambda k=k: call(scores, top_k=k), f"ValueError for top_k {k}")
    close(probabilities(student, scores, top_k=1).sum(-1), torch.ones(3), "top_k = 1 is allowed")


# --- autoregressive.sample


def written(student, prior, y, *args, N=3, K=3, **more):
    x = student.autoregressive.sample(prior, y, *args, **more)
    x = expect.tensor(x, (len(y), N), "the tokens")
    expect.true(x.dtype == torch.int64, "tokens are whole numbers", x.dtype, torch.int64)
    fits = not x.numel() or 0 <= int(x.min()) <= int(x.max()) < K
    expect.true(fits, "tokens are numbers from 0 to K − 1", x, f"from 0 to {K - 1}")
    return x


def prior_of(student, table, N, null):
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
    """A test of χ² whether outcomes, numbers from 0, come as often as p says: refused if it is
    further out than five standard deviations of a normal one."""
    n = len(outcomes)
    counts = torch.bincount(outcomes, minlength=len(p)).double()
    impossible = counts[p == 0]
    expect.true(not impossible.any(), f"{says}: something came that cannot", int(impossible.sum()))
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


@sample(weight=3)
def test_frequencies(student, generator):
    """sequences come as often as Π p(x_t | x_<t, y) says"""
    for cached in (True, False):
        table, n = some_world(generator), 15_000
        prior, y = prior_of(student, table, 3, 2), torch.arange(n) % 2
        x = written(student, prior, y, cached=cached, generator=generator)
        for label in (0, 1):
            says = f"label {label}: how often each sequence comes"
            fits(numbers(x[y == label], 3), share_of_each(table, 3, label, 2), says)


@sample(weight=3)
def test_guided_frequencies(student, generator):
    """guidance acts token by token, for weights of any sign"""
    for w, cached in ((uniform(generator, 1, 3), True), (-uniform(generator, 0.3, 2), False)):
        table, n = some_world(generator), 15_000
        prior, y = prior_of(student, table, 3, 2), torch.arange(n) % 2
        x = written(student, prior, y, w, cached=cached, generator=generator)
        for label in (0, 1):
            says = f"w = {w:.3g}, label {label}: guide the scores of each token"
            fits(numbers(x[y == label], 3), share_of_each(table, 3, label, 2, w), says)


@sample(weight=2)
def test_frequencies_at_other_temperatures(student, generator):
    """temperature and top_k limit every token"""
    for T, k, w in ((0.5, None, 0.0), (2.0, None, 1.0), (1.0, 2, 1.0), (1.5, 2, 0.0)):
        table, n = some_world(generator, K=4, N=2), 8000
        prior, y = prior_of(student, table, 2, 2), torch.zeros(n).long()
        x = written(student, prior, y, w, T, k, generator=generator, N=2, K=4)
        says = f"w = {w:g}, temperature = {T:g}, top_k = {k}"
        fits(numbers(x, 4), share_of_each(table, 2, 0, 2, w, T, k), says)


@sample(weight=2)
def test_the_cache_changes_nothing(student, generator):
    """with a cache and without, the same seed gives the same tokens"""
    for w, T, k in ((0.0, 1.0, None), (2.0, 1.0, None), (-0.5, 0.8, 3), (0.0, 2.0, 2)):
        table = some_world(generator, labels=5, K=4, N=4)
        y, state = torch.randint(0, 4, (40,), generator=generator), generator.get_state()
        found = []
        for cached in (True, False):
            generator.set_state(state)
            prior = prior_of(student, table, 4, 4)
            found.append(written(student, prior, y, w, T, k, cached, generator, N=4, K=4).double())
        says = f"w = {w:g}, temperature = {T:g}, top_k = {k}: cached or not"
        expect.close(found[0], found[1], says, what="the tokens")


@sample(weight=2)
def test_the_likeliest_sequence(student, generator):
    """where one token is far likelier than the others, it is taken"""
    for cached in (True, False):
        for w in (0.0, uniform(generator, 1, 3)):
            table = some_world(generator, labels=6, K=4, N=4)
            y, null = torch.tensor([3, 0, 5, 1, 4, 0]), 2
            prior = prior_of(student, table, 4, null)
            x = written(student, prior, y, w, 1e-6, None, cached, generator, N=4, K=4)
            says = f"w = {w:.3g}, temperature 1e-6: the highest scores of each label"
            expect.close(x, likeliest(table, 4, y, null, w), says, what="the tokens")


@sample(weight=2)
def test_what_is_asked_with_a_cache(student, generator):
    """with a cache prior.step is asked once a token, about the tokens written so far"""
    table = some_world(generator, labels=5, K=4, N=4)
    y = torch.randint(0, 4, (7,), generator=generator)
    prior = prior_of(student, table, 4, 4)
    x = written(student, prior, y, generator=generator, N=4, K=4)
    for t, (known, labels) in enumerate(calls_of(prior, 4, "step")):
        says = f"token {t + 1}: last and cache hold the tokens before it"
        expect.true(questions(known, labels) == questions(x[:, :t], y), says, known, x[:, :t])


@sample(weight=2)
def test_what_is_asked_without_a_cache(student, generator):
    """without a cache the prior is asked once a token, about the tokens written so far"""
    table = some_world(generator, labels=5, K=4, N=4)
    y = torch.randint(0, 4, (7,), generator=generator)
    prior = prior_of(student, table, 4, 4)
    x = written(student, prior, y, cached=False, generator=generator, N=4, K=4)
    for t, (known, labels) in enumerate(calls_of(prior, 4, "forward")):
        says = f"token {t + 1}: the prior gets the tokens before it, and one more"
        known = known[:, :t]
        expect.true(questions(known, labels) == questions(x[:, :t], y), says, known, x[:, :t])


@sample(weight=2)
def test_what_is_asked_for_guidance(student, generator):
    """guidance asks about every sequence with y and with ∅ in one call, and w = 0 only with y"""
    for cached, w in ((True, 1.5), (False, 1.5), (True, -1.0), (False, 0.0), (True, 0.0)):
        table, null = some_world(generator, labels=6, K=4, N=3), draws.whole(generator, 0, 6)
        y = (null + torch.randint(1, 6, (5,), generator=generator)) % 6
        prior = prior_of(student, table, 3, null)
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
    table = some_world(generator)
    for cached in (True, False):
        for mode in ("train", "eval", "half_frozen", "put_to_use"):
            prior = prior_of(student, table, 3, 2)
            prior.call(mode)
            y = torch.tensor([0, 1, 1])
            x = written(student, prior, y, 1.0, 1e-6, None, cached, generator)
            says = f"a prior in mode {mode}: no part trains"
            modes = prior.get("modes")
            expect.true(not any(trains for trains, _ in modes), f"{says} while it is asked")
            expect.true(not any(graph for _, graph in modes), "a graph is recorded")
            expect.close(x, likeliest(table, 3, y, 2, 1.0), says, what="the tokens")


@sample
def test_sequences_of_every_size(student, generator):
    """one sequence, one token, a vocabulary of one, and scores in single precision"""
    for B, N, K in ((1, 3, 3), (4, 1, 3), (3, 4, 1), (1, 1, 1), (2, 5, 2)):
        for cached in (True, False):
            for w in (0.0, 1.5):
                table = some_world(generator, K=K, N=N).float()
                prior, y = prior_of(student, table, N, 2), torch.arange(B) % 2
                x = written(
                    student, prior, y, w, 1e-6, cached=cached, generator=generator, N=N, K=K
                )
                says = f"{B} sequences of {N} tokens out of {K}"
                expect.close(x, likeliest(table, N, y, 2, w), says, what="the tokens")


@sample(weight=2)
def test_draws_of_their_own(student, generator):
    """each sequence and each place has draws of its own"""
    n, K = 12_000, 3
    alike = some_world(generator, 2, K, 1, 0.7).expand(2, 1, K)
    table = alike[:, [0] * (1 + K)]  # p(x_2) is p(x_1), whatever x_1 is
    prior, y = prior_of(student, table, 2, 1), torch.zeros(n).long()
    x = written(student, prior, y, generator=generator, N=2)
    p = shares(alike[0, 0])
    pairs = (p[:, None] * p).flatten()
    fits(numbers(x, K), pairs, "the tokens of a sequence know of each other")
    for k in (1, 2, n // 2):
        two = torch.stack([x[:, 0], x[:, 0].roll(k)], 1)[: n // 2 if k == n // 2 else n]
        fits(numbers(two, K), pairs, f"sequences {k} apart know of each other")


@sample
def test_the_seed_decides(student, generator):
    """the same seed gives the same tokens, another one others, and none is needed"""
    table = some_world(generator, spread=0.5, N=4)
    y = torch.arange(40) % 2
    for cached in (True, False):
        prior, state = prior_of(student, table, 4, 2), generator.get_state()
        more = {"cached": cached, "N": 4}
        one = written(student, prior, y, generator=generator, **more)
        expect.true(
            not torch.equal(one, written(student, prior, y, generator=generator, **more)),
            "the generator's next tokens are the same",
        )
        torch.rand(3)
        generator.set_state(state)
        again = written(student, prior, y, generator=generator, **more)
        expect.close(again, one, "a seed does not repeat the tokens", what="the tokens")
        free = [written(student, prior, y, **more) for _ in range(2)]
        expect.true(not torch.equal(*free), "without a generator two calls give the same tokens")
        generator.manual_seed(draws.whole(generator, 0, 2**31))
        other = written(student, prior, y, generator=generator, **more)
        expect.true(not torch.equal(other, one), "another seed gives the same tokens")


@sample
def test_what_sample_refuses(student, generator):
    """temperatures that are not positive and top_k below 1 are refused"""
    prior = prior_of(student, some_world(generator), 3, 2)
    y, call = torch.zeros(2).long(), student.autoregressive.sample
    prior.call("eval")
    for cached in (True, False):
        for T in (0.0, -1.0, math.nan):
            says = f"ValueError for temperature {T}"
            expect.raises(
                "ValueError", lambda T=T, c=cached: call(prior, y, 1.0, T, cached=c), says
            )
        for k in (0, -2):
            says = f"ValueError for top_k {k}"
            expect.raises(
                "ValueError", lambda k=k, c=cached: call(prior, y, top_k=k, cached=c), says
            )
    x = written(student, prior, y, top_k=1, generator=generator)
    expect.close(x, likeliest(prior.state()["table"], 3, y, 2), "top_k = 1 is allowed")
