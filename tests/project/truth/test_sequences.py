"""Tiny worlds of sequences, held to sums over all sequences, identities and limits."""

import itertools
import math

import pytest
import torch

from cs231n_gen.truth import SequenceWorld, two_token_world
from cs231n_gen.truth.sequences import (
    all_sequences,
    chain_rule,
    conditionals,
    entropy_bits,
    guidance_gap,
    kl_bits,
    masked_decoding,
    sharpened,
    token_by_token,
    total_variation,
)

EXACT = {"rtol": 1e-12, "atol": 1e-14}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def world(seed=0, vocabulary=3, length=3, classes=2, spread=1.0):
    return SequenceWorld.random(vocabulary, length, classes, spread, seeded(seed))


def same(p, q, **options):
    torch.testing.assert_close(p, q, **(EXACT | options))


# --- the world ----------------------------------------------------------------------------------


def test_a_world_is_a_joint_distribution():
    w = world(classes=4)
    assert (w.vocabulary, w.length, w.classes) == (3, 3, 4)
    assert float(w.joint.sum()) == pytest.approx(1)
    for y in (0, 3, 4, None):
        assert float(w.given(y).sum()) == pytest.approx(1)
    prior = w.joint.flatten(1).sum(1)
    same(sum(prior[y] * w.given(y) for y in range(4)), w.given())


def test_a_world_is_scaled_and_keeps_its_numbers():
    joint = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    w = SequenceWorld(joint)
    joint.zero_()
    same(w.joint, torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=torch.float64))


def test_scores_times_each_other_are_the_table():
    w = world()
    x = all_sequences(3, 3)
    for y in range(3):
        logits = w.logits(x, torch.full((27,), y))
        assert logits.shape == (27, 3, 3)
        chosen = logits.gather(-1, x[..., None])[..., 0].sum(1)
        same(chosen.exp(), w.given(y).flatten())
        same(logits.logsumexp(-1), torch.zeros(27, 3).double(), atol=1e-13)


def test_scores_see_the_past_alone():
    w = world(length=4)
    x = all_sequences(3, 4)
    y = torch.randint(0, 3, (81,), generator=seeded(1))
    logits = w.logits(x, y)
    for n in (1, 2, 3):
        assert torch.equal(w.logits(x[:, :n], y), logits[:, :n])
    changed = x.clone()
    changed[:, 3] = 0
    assert torch.equal(w.logits(changed, y), logits)


def test_draws_are_distributed_as_the_table():
    w = world(vocabulary=2, classes=2)
    y = torch.arange(3).repeat_interleave(20_000)
    x = w.sample(y, seeded(0))
    for label in range(3):
        number = (x[y == label] * torch.tensor([4, 2, 1])).sum(1)
        counts, want = torch.bincount(number, minlength=8), 20_000 * w.given(label).flatten()
        chi2 = float(((counts - want).square() / want).sum())
        assert chi2 < 30  # 7 degrees of freedom: beyond it once in 10,000 times
    assert torch.equal(w.sample(y, seeded(0)), x)


def test_all_sequences_stand_in_the_order_of_the_table():
    x = all_sequences(3, 2)
    assert x.tolist() == [list(v) for v in itertools.product(range(3), repeat=2)]
    table = torch.arange(9).reshape(3, 3)
    assert torch.equal(table[tuple(x.T)], table.flatten())
    assert all_sequences(4, 1).tolist() == [[0], [1], [2], [3]]


# --- the chain rule -----------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_any_order_of_the_chain_rule_gives_the_same_joint(order):
    p = world().given(0)
    found = conditionals(p, order)
    assert [c.dim() for c in found] == [1, 2, 3]
    product = torch.ones(()).double()
    for c in found:
        same(c.exp().sum(-1), torch.ones(c.shape[:-1]).double())
        product = product[..., None] * c.exp()
    back = torch.tensor(order).argsort().tolist()
    same(product.permute(*back), p)
    same(token_by_token(p, order=order), p)


def test_a_conditional_by_its_definition():
    p = world().given(1)
    second = conditionals(p, (2, 0, 1))[1]  # p(x_0 | x_2)
    for a, b in itertools.product(range(3), repeat=2):
        assert float(second[a, b].exp()) == pytest.approx(
            float(p[b, :, a].sum() / p[:, :, a].sum())
        )


def test_drawing_from_scores_gives_the_table_of_the_world():
    w = world(length=4)

    def answer(before):
        known = torch.cat([before, torch.zeros(len(before), 1).long()], 1)
        return w.logits(known, torch.ones(len(before)).long())[:, -1].exp()

    same(chain_rule(answer, 3, 4), w.given(1))


def test_the_chain_rule_counts_what_is_missing():
    assert float(chain_rule(lambda x: torch.full((len(x), 2), 0.25), 2, 3).sum()) == 0.125


# --- guidance and temperature -------------------------------------------------------------------


def by_loops(p, p_null, w, temperature, top_k):
    """Token by token, one sequence after the other, from sums of the tables."""
    p, p_null = p / p.sum(), p_null / p_null.sum()
    q = torch.zeros_like(p)
    for x in itertools.product(*map(range, p.shape)):
        value = 1.0
        for t in range(p.dim()):
            row, null = (v[x[:t]].reshape(p.shape[t], -1).sum(1) for v in (p, p_null))
            row, null = row / row.sum(), null / null.sum()
            row = (row ** (1 + w) / null**w) ** (1 / temperature)
            row = torch.where(row >= row.sort(descending=True).values[top_k - 1], row, 0.0)
            value *= float(row[x[t]] / row.sum())
        q[x] = value
    return q


@pytest.mark.parametrize(
    ("w", "temperature", "top_k"),
    [(0.0, 1.0, 3), (1.5, 1.0, 3), (0.0, 0.4, 3), (0.0, 1.0, 2), (2.0, 1.7, 2), (-0.5, 1.0, 1)],
)
def test_token_by_token_by_loops(w, temperature, top_k):
    one = world()
    p, p_null = one.given(0), one.given()
    q = token_by_token(p, p_null, w, temperature, top_k)
    same(q, by_loops(p, p_null, w, temperature, top_k))
    assert float(q.sum()) == pytest.approx(1)


def test_token_by_token_by_simulation():
    """Draws by the rows of the perfect scores, made sharper."""
    w, n, generator = world(vocabulary=2), 40_000, seeded(0)
    x = torch.empty(n, 0, dtype=torch.long)
    for _ in range(3):
        known = torch.cat([x, torch.zeros(n, 1).long()], 1)
        label = torch.zeros(n).long()
        guided = 3 * w.logits(known, label)[:, -1] - 2 * w.logits(known, label + 2)[:, -1]
        x = torch.cat([x, torch.multinomial((guided / 1.3).softmax(-1), 1, generator=generator)], 1)
    counts = torch.bincount((x * torch.tensor([4, 2, 1])).sum(1), minlength=8)
    want = n * token_by_token(w.given(0), w.given(), 2.0, 1.3).flatten()
    assert float(((counts - want).square() / want).sum()) < 30


def test_the_sharpened_sequence_by_its_formula():
    one = world()
    p, p_null = one.given(1), one.given()
    q = (p**2.5 / p_null**1.5) ** (1 / 0.7)
    same(sharpened(p, p_null, 1.5, 0.7), q / q.sum())
    same(sharpened(p, temperature=0.5), p**2 / (p**2).sum())


def test_without_guidance_and_temperature_both_are_the_table():
    one = world()
    p = one.given(0)
    for q in (token_by_token(p), token_by_token(p, one.given()), sharpened(p, one.given())):
        same(q, p)
    same(token_by_token(p, None, 5.0), p)
    minus = one.given(0), one.given(), -1.0  # w = −1 leaves the unconditional one
    same(token_by_token(*minus), one.given())
    same(sharpened(*minus), one.given())


def test_both_agree_for_one_token_and_for_independent_ones():
    one = world(length=1)
    same(token_by_token(one.given(0), one.given(), 2.0), sharpened(one.given(0), one.given(), 2.0))
    rows = torch.rand(4, 3, generator=seeded(1)).double()
    p, p_null = (torch.einsum("a,b->ab", *rows[i : i + 2]) for i in (0, 2))
    same(token_by_token(p, p_null, 2.0, 0.5), sharpened(p, p_null, 2.0, 0.5))


def test_they_differ_by_the_normalisers_of_the_prefix():
    """sharpened / token by token is proportional to Z_2(x_1) Z_3(x_1, x_2)."""
    one, w = world(), 1.5
    p, p_null = one.given(0), one.given()
    ratio = sharpened(p, p_null, w) / token_by_token(p, p_null, w)
    Z = 1.0
    for c, null in zip(conditionals(p)[1:], conditionals(p_null)[1:], strict=True):
        z = ((1 + w) * c - w * null).exp().sum(-1)
        Z = Z * z.reshape(*z.shape, *[1] * (3 - z.dim()))
    constant = ratio / Z
    same(constant, constant[0, 0, 0].expand(3, 3, 3), rtol=1e-10)


def test_the_gap_grows_from_nothing():
    one = two_token_world()
    w = torch.tensor([0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 50.0])
    gap = guidance_gap(one.given(1), one.given(), w)
    assert float(gap[0]) == pytest.approx(0, abs=1e-15)
    assert (gap.diff() > 0).all()
    assert float(gap[-1]) == pytest.approx(0.5, abs=1e-6)


def test_the_two_token_world_as_its_docstring_says():
    one = two_token_world()
    p, p_null = one.given(1), one.given()
    drawn, wanted = token_by_token(p, p_null, 1.0), sharpened(p, p_null, 1.0)
    rows = [[round(v, 4) for v in q.flatten().tolist()] for q in (p, drawn, wanted)]
    assert rows == [
        [0.25, 0.25, 0.05, 0.45],
        [0.25, 0.25, 0.0061, 0.4939],
        [0.1894, 0.1894, 0.0076, 0.6136],
    ]
    # By hand: Z(0) = 1, Z(1) = (.9² + .1²) / .5 = 1.64.
    assert float(wanted[1].sum()) == pytest.approx(1.64 / 2.64)
    assert float(drawn[1].sum()) == pytest.approx(0.5)
    assert float(total_variation(drawn, wanted)) == pytest.approx(1.64 / 2.64 - 0.5)
    same(token_by_token(p, temperature=0.5), drawn)
    same(sharpened(p, temperature=0.5), wanted)
    same(p_null, torch.full((2, 2), 0.25).double())
    mirrored = one.given(0).flip(1)  # the other class, with the kinds of x_2 exchanged
    same(mirrored, p)


def test_cold_sequences():
    """Towards T = 0 the sharpened sequence is the likeliest; greedy tokens need not make it."""
    p = torch.tensor([[0.3, 0.3], [0.4, 0.0]])  # greedy starts with 0
    assert float(sharpened(p, temperature=1e-3)[1, 0]) == pytest.approx(1)
    greedy = token_by_token(p, temperature=1e-3)
    assert float(greedy[0].sum()) == pytest.approx(1)
    same(token_by_token(p, top_k=1), torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double())


def test_hot_sequences_are_uniform_where_they_can_be():
    p = torch.tensor([[0.3, 0.3], [0.4, 0.0]])
    same(sharpened(p, temperature=1e9), torch.tensor([[1, 1], [1, 0]]).double() / 3, atol=1e-8)
    same(token_by_token(p, temperature=1e9), torch.tensor([[1, 1], [2, 0]]).double() / 4, atol=1e-8)


def test_what_cannot_be_stays_so():
    joint = torch.zeros(2, 2, 2, 2)
    joint[0, 0, 0, 1], joint[0, 1, 1, 0], joint[1, 0, 1, 1] = 1.0, 2.0, 1.0
    one = SequenceWorld(joint)
    for y in (0, 1):
        p, p_null = one.given(y), one.given()
        for q in (token_by_token(p, p_null, 3.0, 0.5, 2), sharpened(p, p_null, 3.0, 0.5)):
            assert float(q.sum()) == pytest.approx(1)
            assert (q[p == 0] == 0).all()
        assert all(c.exp().isfinite().all() for c in conditionals(p))
    assert not one.logits(all_sequences(2, 3), torch.ones(8).long()).isnan().any()
    assert float(masked_decoding(one.given(0), [1, 1, 1])[1, 1, 0]) == pytest.approx(2 / 3)


def test_strong_guidance_has_no_limit_of_floats():
    one = world(spread=5.0)
    for q in (
        token_by_token(one.given(0), one.given(), 1e4),
        sharpened(one.given(0), one.given(), 1e4),
    ):
        assert float(q.sum()) == pytest.approx(1)
        assert q.isfinite().all()


# --- several tokens at once ---------------------------------------------------------------------


def by_trees(p, counts, confident):
    """All ways of a decoding, each with its probability, one after the other."""
    N = p.dim()
    q = torch.zeros_like(p)

    def marginal(known, i):
        index = tuple(known.get(j, slice(None)) for j in range(N))
        rest = p[index]
        at = [j for j in range(N) if j not in known].index(i)
        rest = rest.movedim(at, 0).reshape(p.shape[i], -1).sum(1)
        return rest / rest.sum()

    def go(known, counts, probability):
        if not counts:
            q[tuple(known[j] for j in range(N))] += probability
            return
        left = [i for i in range(N) if i not in known]
        rows = {i: marginal(known, i) for i in left}
        if confident:
            for drawn in itertools.product(range(p.shape[0]), repeat=len(left)):
                chances = [float(rows[i][k]) for i, k in zip(left, drawn, strict=True)]
                best = sorted(range(len(left)), key=lambda j: -chances[j])[: counts[0]]
                new = {left[j]: drawn[j] for j in best}
                go(known | new, counts[1:], probability * math.prod(chances))
        else:
            sets = list(itertools.combinations(left, counts[0]))
            for places in sets:
                for drawn in itertools.product(range(p.shape[0]), repeat=len(places)):
                    chances = [float(rows[i][k]) for i, k in zip(places, drawn, strict=True)]
                    new = dict(zip(places, drawn, strict=True))
                    go(known | new, counts[1:], probability * math.prod(chances) / len(sets))

    go({}, list(counts), 1.0)
    return q


@pytest.mark.parametrize("counts", [(1, 1, 1), (1, 2), (2, 1), (3,)])
@pytest.mark.parametrize("places", ["random", "confident"])
def test_parallel_decoding_by_all_its_ways(counts, places):
    p = world(vocabulary=2).given(0)
    same(masked_decoding(p, counts, places), by_trees(p, counts, places == "confident"))


@pytest.mark.parametrize("places", ["random", (2, 0, 3, 1)])
def test_one_token_a_call_loses_nothing(places):
    p = world(length=4).given(0)
    same(masked_decoding(p, [1] * 4, places), p)


def test_all_tokens_in_one_call_are_independent():
    p = world().given(0)
    rows = [p.sum([j for j in range(3) if j != i]) for i in range(3)]
    product = torch.einsum("a,b,c->abc", *rows)
    for places in ("random", "confident", (1, 2, 0)):
        same(masked_decoding(p, [3], places), product)


def test_independent_tokens_may_be_drawn_in_any_way():
    rows = torch.rand(3, 2, generator=seeded(0)).double()
    p = torch.einsum("a,b,c->abc", *rows)
    p = p / p.sum()
    for places in ("random", (1, 2, 0)):
        for counts in ([1, 2], [2, 1], [3]):
            same(masked_decoding(p, counts, places), p)


def test_what_a_fixed_order_loses_is_the_total_correlation_of_each_call():
    p = world(length=4).given(0)
    order, counts = (3, 0, 2, 1), (1, 2, 1)
    q = p.permute(*order)

    def entropy(n, *more):
        """H of the first n places of the order, and some of the next."""
        kept = [*range(n), *more]
        gone = [j for j in range(4) if j not in kept]
        return float(entropy_table(q.sum(gone) if gone else q))

    pair = (entropy(1, 1) - entropy(1)) + (entropy(1, 2) - entropy(1)) - (entropy(3) - entropy(1))
    lost = kl_bits(p, masked_decoding(p, counts, order))
    assert float(lost) == pytest.approx(pair, rel=1e-10)


def entropy_table(p):
    return torch.special.entr(p).sum() / math.log(2)


def test_more_calls_lose_less():
    p = world(length=4).given(0)
    schedules = [[4], [2, 2], [1, 1, 2], [1, 1, 1, 1]]
    lost = [float(kl_bits(p, masked_decoding(p, counts))) for counts in schedules]
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] == pytest.approx(0, abs=1e-12)


def test_a_random_order_mixes_the_fixed_ones():
    p = world().given(1)
    orders = list(itertools.permutations(range(3)))
    mean = sum(masked_decoding(p, [2, 1], order) for order in orders) / len(orders)
    same(masked_decoding(p, [2, 1]), mean)


def test_confidence_favours_likely_tokens_even_one_at_a_time():
    """Two tokens that are always alike, 1 with .6: the likelier draw stays of two that differ."""
    p = torch.tensor([[0.4, 0.0], [0.0, 0.6]], dtype=torch.float64)
    q = masked_decoding(p, [1, 1], "confident")
    same(q, torch.tensor([[0.16, 0.0], [0.0, 0.84]], dtype=torch.float64))
    same(masked_decoding(p, [1, 1], "random"), p)


@pytest.mark.parametrize("counts", [(1, 1, 1), (1, 2), (2, 1)])
def test_chance_leads_from_the_surest_to_a_random_order(counts):
    p = world(vocabulary=2).given(0)
    surest, random = masked_decoding(p, counts, "confident"), masked_decoding(p, counts)
    same(masked_decoding(p, counts, "confident", math.inf), random)
    same(masked_decoding(p, counts, "confident", 1e-4), surest, atol=1e-6, rtol=0)
    same(masked_decoding(p, counts, "confident", 1e9), random, atol=1e-8, rtol=0)
    chances = (0.0, 0.1, 0.5, 2.0, 10.0)
    far = [total_variation(masked_decoding(p, counts, "confident", c), random) for c in chances]
    assert far == sorted(far, reverse=True)


def test_chance_of_each_call():
    p = world(vocabulary=2).given(0)
    counts = [1, 2]
    later = masked_decoding(p, counts, "confident", [0.7, 0.0])  # the last call keeps all
    same(later, masked_decoding(p, counts, "confident", 0.7))
    first = masked_decoding(p, [1, 1, 1], "confident", [math.inf, 0.0, 0.0])
    assert float(total_variation(first, masked_decoding(p, [1, 1, 1], "confident"))) > 1e-3


def test_confidence_with_noise_by_simulation():
    """Draw all, compare log p + chance · Gumbel noise, keep the highest, call by call."""
    p, counts, chances, n = world(vocabulary=2).given(0), (1, 1, 1), (1.5, 0.4, 0.0), 60_000
    generator = seeded(0)
    x = torch.full((n, 3), -1)
    for count, chance in zip(counts, chances, strict=True):
        rows = torch.full((n, 3, 2), math.nan, dtype=torch.float64)
        for known in x.unique(dim=0):
            index = (x == known).all(1)
            part = p[tuple(slice(None) if k < 0 else slice(k, k + 1) for k in known.tolist())]
            for i in range(3):
                row = part.sum([j for j in range(3) if j != i])
                if known[i] < 0:
                    rows[index, i] = row / row.sum()
        hidden = x < 0
        odds = torch.where(hidden[..., None], rows, 0.5)
        drawn = torch.multinomial(odds.reshape(-1, 2), 1, generator=generator).reshape(n, 3)
        sure = odds.gather(-1, drawn[..., None])[..., 0].log()
        uniform = torch.rand(n, 3, generator=generator, dtype=torch.float64)
        sure = (sure - chance * (-uniform.log()).log()).masked_fill(~hidden, -math.inf)
        kept = sure.topk(count).indices
        x = x.scatter(1, kept, drawn.gather(1, kept))
    counted = torch.bincount((x * torch.tensor([4, 2, 1])).sum(1), minlength=8)
    want = n * masked_decoding(p, counts, "confident", chances).flatten()
    assert float(((counted - want).square() / want).sum()) < 30


# --- measures -----------------------------------------------------------------------------------


def test_measures_of_tables():
    p, q = torch.tensor([[0.5, 0.5], [0.0, 0.0]]), torch.full((2, 2), 0.25)
    assert float(entropy_bits(p)) == 1
    assert float(entropy_bits(q)) == 2
    assert float(kl_bits(p, q)) == 1
    assert float(kl_bits(q, p)) == math.inf
    assert float(total_variation(p, q)) == 0.5
    assert float(total_variation(p, p)) == 0


def test_bits_of_a_sequence_are_the_sum_of_those_of_its_tokens():
    p = world().given(0)
    total, before = 0.0, torch.ones(()).double()
    for c in conditionals(p):
        total -= float((before[..., None] * c.exp() * c).sum()) / math.log(2)
        before = before[..., None] * c.exp()
    assert float(entropy_bits(p)) == pytest.approx(total, rel=1e-12)


def test_everything_is_double_precision():
    p = torch.full((2, 2), 0.25)
    found = [token_by_token(p), sharpened(p), masked_decoding(p, [2]), two_token_world().joint]
    assert {t.dtype for t in found} == {torch.float64}


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p", [[0.5, -0.5], [math.nan, 1.0], [0.0, 0.0], [[0.2, 0.3, 0.5], [0.0, 0.0, 0.0]], 1.0]
)
def test_a_table_that_is_none_is_refused(p):
    for call in (token_by_token, sharpened, conditionals, entropy_bits):
        with pytest.raises(ValueError, match="p must be"):
            call(torch.tensor(p))
    with pytest.raises(ValueError, match="joint must be"):
        SequenceWorld(torch.tensor(p)[None])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": 0.0}, "temperature must be positive, got 0"),
        ({"temperature": math.nan}, "temperature must be positive"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"w": math.inf}, "w must be finite"),
        ({"order": (0, 0)}, "order must hold each place from 0 to 1 once"),
        ({"p_null": torch.ones(3, 3)}, "both tables must be of one shape"),
        ({"p_null": torch.eye(2)}, "p_null must be positive wherever p is"),
    ],
)
def test_what_token_by_token_refuses(options, says):
    with pytest.raises(ValueError, match=says):
        token_by_token(torch.ones(2, 2), **options)


@pytest.mark.parametrize(
    ("counts", "places", "says"),
    [
        ([1], "random", "counts must be at least 1 each and 2 together"),
        ([2, 0], "random", "counts must be at least 1 each"),
        ([1, 1], "best", "places must be"),
        ([1, 1], (1, 1), "order must hold each place"),
    ],
)
def test_what_parallel_decoding_refuses_of_places(counts, places, says):
    with pytest.raises(ValueError, match=says):
        masked_decoding(torch.ones(2, 2), counts, places)


@pytest.mark.parametrize("chance", [-1.0, math.nan, [1.0], [1.0, -1.0]])
def test_what_parallel_decoding_refuses_of_chance(chance):
    with pytest.raises(ValueError, match="chance must be at least 0, one or one for each call"):
        masked_decoding(torch.ones(2, 2), [1, 1], "confident", chance)


def test_what_a_world_refuses():
    one = two_token_world()
    with pytest.raises(ValueError, match="y must be from 0 to 2"):
        one.given(3)
    with pytest.raises(ValueError, match="tokens must be"):
        one.logits(torch.zeros(1, 3).long(), torch.zeros(1).long())
    with pytest.raises(ValueError, match="tokens must be from 0 to 1"):
        one.logits(torch.full((1, 2), 2), torch.zeros(1).long())
    with pytest.raises(ValueError, match="one label for each of 1"):
        one.logits(torch.zeros(1, 2).long(), torch.zeros(2).long())
    with pytest.raises(ValueError, match="each class must have some probability"):
        SequenceWorld(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="expected a table of at most"):
        SequenceWorld.random(100, 9)
    with pytest.raises(ValueError, match="expected few sequences"):
        all_sequences(100, 9)
