"""The best contrastive loss, held to enumeration, to draws, to its closed forms and its bounds."""

import math
from itertools import product

import pytest
import torch

from cs231n_gen import captions, text
from cs231n_gen.truth.contrast import (
    best_loss,
    caption_floor,
    expected_loss,
    mutual_information,
    pointwise_information,
    same_class_loss,
    telling_apart,
    text_loss,
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def table(images=4, texts=3, seed=0):
    p = torch.rand(images, texts, generator=seeded(seed), dtype=torch.float64) ** 3
    return p / p.sum()


def scores_for(p, seed=1, spread=2.0):
    return spread * torch.randn(p.shape, generator=seeded(seed), dtype=torch.float64)


def with_gaps(seed=3):
    """A table with pairs that do not occur, an image and a text that never do."""
    p = table(5, 6, seed)
    p[0, 1] = p[2, 2] = p[4, 5] = 0
    p[3] = 0
    p[:, 4] = 0
    return p / p.sum()


# --- information --------------------------------------------------------------------------------


def test_mutual_information_is_the_entropy_that_the_other_takes_away():
    p = table(5, 4)
    entropy = torch.special.entr
    apart = entropy(p.sum(0)).sum() + entropy(p.sum(1)).sum()
    assert mutual_information(p) == pytest.approx(float(apart - entropy(p).sum()), rel=1e-12)
    assert mutual_information(p) == pytest.approx(mutual_information(p.T), rel=1e-12)


def test_what_is_independent_tells_nothing_and_a_pairing_all():
    alone = torch.tensor([0.2, 0.3, 0.5])[:, None] * torch.tensor([0.1, 0.9])
    assert mutual_information(alone) == pytest.approx(0, abs=1e-7)
    assert mutual_information(torch.eye(7)) == pytest.approx(math.log(7), rel=1e-12)


def test_pointwise_information_may_be_minus_infinite_and_averages_to_the_mutual_one():
    p = with_gaps()
    pmi = pointwise_information(p)
    assert ((pmi == -math.inf) == (p == 0)).all()
    i, j = 1, 3
    assert float(pmi[i, j]) == pytest.approx(float((p[i, j] / p[i].sum() / p[:, j].sum()).log()))
    mean = float((p * pmi)[p > 0].sum())
    assert mutual_information(p) == pytest.approx(mean, rel=1e-12)


def test_tables_are_scaled():
    p = table()
    assert mutual_information(5 * p) == pytest.approx(mutual_information(p), rel=1e-12)
    assert best_loss(5 * p, 3)[0] == pytest.approx(best_loss(p, 3)[0], rel=1e-12)


# --- the expected loss --------------------------------------------------------------------------


def by_enumeration(p, s, n):
    """Every batch of n pairs, with its probability and its loss."""
    pairs = [(i, j) for i, j in product(*map(range, p.shape)) if p[i, j] > 0]
    total = 0.0
    for batch in product(pairs, repeat=n):
        i, j = (torch.tensor(v) for v in zip(*batch, strict=True))
        total += float(p[i, j].prod() * text.contrastive_loss(s[i][:, j]))
    return total


@pytest.mark.parametrize(("images", "texts", "n"), [(2, 2, 5), (3, 2, 4), (2, 4, 3), (1, 3, 4)])
def test_it_is_the_mean_over_all_batches(images, texts, n):
    p, s = table(images, texts, n), scores_for(table(images, texts, n))
    assert float(expected_loss(p, s, n)) == pytest.approx(by_enumeration(p, s, n), rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_a_half_is_a_sum_over_counts_of_texts(n):
    """Of two texts, the number of the one among the n − 1 others is binomial."""
    p = table(3, 2, seed=5)
    s = scores_for(p, spread=3.0)
    q, total = p.sum(0), 0.0
    for i, j, k in product(range(3), range(2), range(n)):
        chance = math.comb(n - 1, k) * float(q[0]) ** k * float(q[1]) ** (n - 1 - k)
        others = k * s[i, 0].exp() + (n - 1 - k) * s[i, 1].exp()
        total += float(p[i, j] * chance * ((s[i, j].exp() + others).log() - s[i, j]))
    assert float(text_loss(p, s, n)) == pytest.approx(total, rel=1e-12, abs=1e-13)


def test_it_is_the_mean_of_the_loss_over_drawn_batches():
    p, n, batches = table(6, 5, 7), 16, 2000
    s = scores_for(p)
    pick = torch.multinomial(p.flatten(), n * batches, replacement=True, generator=seeded(2))
    i, j = (pick // 5).view(batches, n), (pick % 5).view(batches, n)
    drawn = torch.stack([text.contrastive_loss(s[a][:, b]) for a, b in zip(i, j, strict=True)])
    error = float(drawn.std()) / math.sqrt(batches)
    assert float(expected_loss(p, s, n)) == pytest.approx(float(drawn.mean()), abs=4 * error)


def test_one_pair_is_always_found():
    p = table()
    assert float(expected_loss(p, scores_for(p), 1)) == pytest.approx(0, abs=1e-13)


def test_equal_scores_leave_a_guess_between_all():
    p = table()
    for n in (2, 10, 1000):
        assert float(expected_loss(p, 0 * p + 3, n)) == pytest.approx(math.log(n), rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 300.0, -5000.0])
def test_scores_of_any_size_are_right(shift):
    """Two images, two texts; the scores of the right ones are above by 800, beyond what float64
    has as an exponential."""
    p = torch.tensor([[0.3, 0.1], [0.0, 0.6]], dtype=torch.float64)
    s = torch.tensor([[800.0, 0.0], [0.0, 800.0]], dtype=torch.float64) + shift
    n = 3
    # Image 0 with text 1 loses 800 for each text 0 there is among the others, and a logarithm.
    q = 0.3
    some = [(k, math.comb(2, k) * q**k * (1 - q) ** (2 - k)) for k in range(3)]
    wrong = sum(c * (800 + math.log(k) if k else math.log(n)) for k, c in some)
    right_0 = sum(c * math.log(1 + k) for k, c in some)
    right_1 = sum(c * math.log(1 + n - 1 - k) for k, c in some)
    want = 0.3 * right_0 + 0.1 * wrong + 0.6 * right_1
    assert float(text_loss(p, s, n)) == pytest.approx(want, rel=1e-12)


def test_a_text_that_is_never_chosen_though_it_is_right_costs_infinitely_much():
    p, s = table(), scores_for(table())
    s[1, 1] = -math.inf
    assert expected_loss(p, s, 4) == math.inf
    p[1, 1] = 0
    assert expected_loss(p, s, 4).isfinite()


def test_minus_infinity_is_the_limit_of_low_scores():
    p, s = with_gaps(), scores_for(with_gaps())
    low, never = s.clone(), s.clone()
    low[p == 0], never[p == 0] = -60.0, -math.inf
    a, b = (float(expected_loss(p, v, 5)) for v in (low, never))
    assert a == pytest.approx(b, rel=1e-12)


def test_gradients_are_those_of_differences():
    p = table(3, 3)
    s = scores_for(p).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: expected_loss(p, v, 6), s)


# --- the best scores ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 64])
def test_nothing_improves_the_best_scores(n):
    """The loss is convex in the scores, so where its slope is 0 it is least."""
    p = table(5, 4)
    least, scores = best_loss(p, n)
    at = scores.clone().requires_grad_()
    (slope,) = torch.autograd.grad(expected_loss(p, at, n), at)
    assert slope.abs().max() < 1e-14
    for seed in range(5):
        other = scores + scores_for(p, seed, spread=0.3)
        assert float(expected_loss(p, other, n)) > least


def test_a_search_from_anywhere_ends_at_the_best_loss():
    p, n = table(3, 4), 6
    s = scores_for(p).requires_grad_()
    search = torch.optim.LBFGS([s], max_iter=300, tolerance_grad=1e-11, tolerance_change=1e-15)

    def closure():
        search.zero_grad()
        L = expected_loss(p, s, n)
        L.backward()
        return L

    search.step(closure)
    least, scores = best_loss(p, n)
    assert float(expected_loss(p, s.detach(), n)) == pytest.approx(least, abs=1e-9)
    gap = s.detach() - scores
    assert float(gap.max() - gap.min()) < 1e-3, "the scores are those but for one constant"


def test_each_half_leaves_what_depends_on_one_side_alone_open():
    p, n = table(5, 4), 7
    least, scores = best_loss(p, n)
    free = scores_for(p)
    of_image, of_text = free[:, :1], free[:1]
    texts, images = text_loss(p, scores, n), text_loss(p.T, scores.T, n)
    torch.testing.assert_close(text_loss(p, scores + of_image, n), texts)
    torch.testing.assert_close(text_loss(p.T, (scores + of_text).T, n), images)
    assert float(text_loss(p, scores + of_text, n)) > float(texts) + 0.01
    assert float(text_loss(p.T, (scores + of_image).T, n)) > float(images) + 0.01
    assert least == pytest.approx(float(texts + images) / 2, rel=1e-12)


def test_posteriors_are_also_best_for_the_half_that_finds_images():
    """log p(text | image) is log p(i, j) / p(i) p(j) plus what depends on the text alone."""
    p, n = table(5, 4), 7
    posterior = (p / p.sum(1, keepdim=True)).log()
    best = pointwise_information(p)
    torch.testing.assert_close(text_loss(p.T, posterior.T, n), text_loss(p.T, best.T, n))


# --- bounds and limits --------------------------------------------------------------------------


@pytest.mark.parametrize("p", [table(), table(6, 6, 4), with_gaps(), torch.eye(5)])
def test_no_batch_shows_more_than_there_is_nor_more_than_log_n(p):
    information, shown = mutual_information(p), []
    for n in (1, 2, 4, 16, 64, 256):
        shown.append(math.log(n) - best_loss(p, n)[0])
        assert shown[-1] <= min(information, math.log(n)) + 1e-12
        worse = float(expected_loss(p, scores_for(p), n))
        assert math.log(n) - worse <= information
    assert shown == sorted(shown), "larger batches show more"


def test_large_batches_show_all_there_is():
    """What is missing falls like 1 / n."""
    p = table(4, 4)
    gaps = [mutual_information(p) - math.log(n) + best_loss(p, n)[0] for n in (10**3, 10**4, 10**5)]
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.05)
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.05)
    assert gaps[2] < 1e-4


def test_small_batches_of_many_pairs_show_log_n():
    assert best_loss(torch.eye(300), 4)[0] == pytest.approx(3 * math.log(2) / 300, rel=0.01)


# --- classes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 9, 100])
def test_a_pairing_is_a_closed_form(n):
    K = 6
    want = sum(
        math.comb(n - 1, k) * (1 / K) ** k * (1 - 1 / K) ** (n - 1 - k) * math.log(1 + k)
        for k in range(n)
    )
    assert same_class_loss(torch.ones(K), n) == pytest.approx(want, rel=1e-11, abs=1e-15)
    assert best_loss(torch.eye(K), n)[0] == pytest.approx(want, rel=1e-11, abs=1e-13)


def test_what_is_within_a_class_makes_no_difference():
    """Three classes, of 1, 2 and 3 images and of 2, 1 and 2 texts, all independent within."""
    shares = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    blocks = [c * table(1, 1) for c in shares]
    images = [torch.ones(1), torch.tensor([0.3, 0.7]), torch.tensor([0.1, 0.1, 0.8])]
    texts = [torch.tensor([0.5, 0.5]), torch.ones(1), torch.tensor([0.9, 0.1])]
    blocks = [
        c * a.double()[:, None] * b.double() for c, a, b in zip(shares, images, texts, strict=True)
    ]
    p = torch.block_diag(*blocks)
    for n in (2, 8, 30):
        assert best_loss(p, n)[0] == pytest.approx(same_class_loss(shares, n), rel=1e-7)
    entropy = float(torch.special.entr(shares).sum())
    assert mutual_information(p) == pytest.approx(entropy, rel=1e-7)


def test_limits_of_few_and_of_many_classes():
    assert same_class_loss(torch.ones(1), 50) == pytest.approx(math.log(50), rel=1e-12)
    assert same_class_loss(torch.ones(4), 100_000) == pytest.approx(math.log(25_000), abs=1e-4)
    K = 10**6
    assert same_class_loss(torch.ones(K), 20) == pytest.approx(19 * math.log(2) / K, rel=1e-4)
    assert same_class_loss(torch.tensor([1.0, 0.0, 1.0]), 9) == same_class_loss(torch.ones(2), 9)


# --- captions -----------------------------------------------------------------------------------

WORLD = {"objects": 50, "relations": 4, "alone": 0.2}


def told_from_first(scenes):
    other = torch.isin(scenes[:, 3:4], torch.tensor([1, 3]))
    return torch.where(other, captions.retold(scenes), scenes)


@pytest.mark.parametrize("n", [16, 128])
def test_the_floor_of_captions_is_that_of_drawn_batches(n):
    """A critic that knows all of picture and caption, by `text.contrastive_loss`."""
    g, losses = seeded(0), []
    for _ in range(300):
        scenes = told_from_first(captions.draw_scenes(n, g))
        same = (scenes[:, None] == scenes).all(2)
        losses.append(text.contrastive_loss(torch.where(same, 0.0, -1e4).double()))
    losses = torch.stack(losses)
    error = float(losses.std()) / math.sqrt(len(losses))
    assert caption_floor(n, **WORLD) == pytest.approx(float(losses.mean()), abs=4 * error)


def test_the_floor_of_captions_is_that_of_their_table():
    """A small world: 3 objects, "left" and "right", told from either object, in 2 places each."""
    objects, alone, n = 3, 0.4, 6
    contents = [(a,) for a in range(objects)] + list(product(range(objects), repeat=2))
    said = {}
    rows = []
    for content in contents:
        if len(content) == 1:
            chance, tellings = alone / objects, [content]
        else:
            a, b = content
            chance = (1 - alone) / objects**2
            tellings = [(a, "left", b), (b, "right", a)]
        row = {said.setdefault(t, len(said)): chance / len(tellings) for t in tellings}
        rows += [row] * 2  # two places, equally likely
    p = torch.zeros(len(rows), len(said), dtype=torch.float64)
    for i, row in enumerate(rows):
        for j, chance in row.items():
            p[i, j] = chance / 2
    assert p.shape == (24, 21)
    want = caption_floor(n, objects=objects, relations=2, alone=alone)
    assert best_loss(p, n)[0] == pytest.approx(want, rel=1e-11)


def test_the_table_of_the_docstring_is_right():
    lines = [line.split() for line in caption_floor.__doc__.splitlines()]
    sizes, losses = (next(line[1:] for line in lines if line[:1] == [k]) for k in ("n", "L"))
    for n, L in zip(sizes, losses, strict=True):
        assert f"{caption_floor(int(n), **WORLD):.4f}".lstrip("0") == L


def orders(seen_alike):
    """Two images, "A left of B" and "B left of A", with texts that are right in 9 of 10."""
    p = torch.tensor([[0.45, 0.05], [0.05, 0.45]])
    return telling_apart(p, partner=[1, 0], seen=[0, 0] if seen_alike else [0, 1])


def test_a_bag_of_words_is_right_in_half_of_the_pairs():
    assert orders(seen_alike=True) == pytest.approx(0.5)
    with_others = torch.rand(7, 6, generator=seeded(0))
    partner, bags = [1, 0, 3, 2, 5, 4], [0, 0, 1, 1, 2, 2]
    assert telling_apart(with_others, partner, bags) == pytest.approx(0.5, rel=1e-12)


def test_who_knows_the_order_is_right_as_often_as_the_table_allows():
    assert orders(seen_alike=False) == pytest.approx(0.9)
    assert telling_apart(torch.eye(4), [1, 0, 3, 2], [0, 1, 2, 3]) == 1


def test_texts_that_are_their_own_partners_do_not_count():
    p = torch.eye(3)
    assert telling_apart(p, [0, 2, 1], [0, 1, 1]) == pytest.approx(0.5)


def test_no_critic_passes_the_bound():
    """Of critics with random scores for what they see, by counting."""
    p = table(5, 6, 8)
    partner, seen = [3, 2, 1, 0, 5, 4], torch.tensor([0, 1, 1, 1, 2, 0])
    bound, best = telling_apart(p, partner, seen.tolist()), 0.0
    for seed in range(300):
        s = torch.randn(5, 3, generator=seeded(seed))[:, seen]
        right = (s > s[:, partner]).double() + 0.5 * (s == s[:, partner])
        best = max(best, float((p * right).sum()))
    assert best <= bound + 1e-12
    assert best > bound - 0.1


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("p", [[0.5, 0.5], [[-0.1, 1.1]], [[0.0, 0.0]], [[math.nan, 1.0]]])
def test_what_is_no_table_is_refused(p):
    with pytest.raises(ValueError, match=r"p must be \(images, texts\)"):
        mutual_information(torch.tensor(p))
    with pytest.raises(ValueError, match=r"p must be \(images, texts\)"):
        best_loss(torch.tensor(p), 2)


def test_a_table_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="p may have 100000 numbers, got 160000"):
        pointwise_information(torch.ones(400, 400))


def test_scores_that_do_not_fit_are_refused():
    p = table()
    with pytest.raises(ValueError, match=r"scores must be \(4, 3\) like p, got \(3, 4\)"):
        expected_loss(p, scores_for(p.T), 2)
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"numbers or −∞, got {wrong}"):
            expected_loss(p, torch.full(p.shape, wrong), 2)


@pytest.mark.parametrize("n", [0, -3, 2.0])
def test_batches_without_pairs_are_refused(n):
    for loss in (lambda: best_loss(table(), n), lambda: same_class_loss(torch.ones(2), n)):
        with pytest.raises(ValueError, match=f"n must be a whole number from 1 on, got {n}"):
            loss()


@pytest.mark.parametrize(
    "world",
    [
        {**WORLD, "objects": 0},
        {**WORLD, "relations": 3},
        {**WORLD, "relations": 0},
        {**WORLD, "alone": 1.5},
        {**WORLD, "alone": math.nan},
    ],
)
def test_worlds_that_cannot_be_are_refused(world):
    with pytest.raises(ValueError, match="a positive even number and alone from 0 to 1, got"):
        caption_floor(4, **world)


@pytest.mark.parametrize("p", [[[1.0], [2.0]], [0.5, -0.5], [0.0], [math.inf, 1.0]])
def test_what_are_no_probabilities_is_refused(p):
    with pytest.raises(ValueError, match=r"probabilities must be \(classes,\)"):
        same_class_loss(torch.tensor(p), 3)


def test_partners_that_are_not_each_others_are_refused():
    p = table(2, 3)
    with pytest.raises(ValueError, match="the partner of its partner, got"):
        telling_apart(p, [1, 2, 0], [0, 0, 0])
    with pytest.raises(ValueError, match="the partner of its partner, got"):
        telling_apart(p, [3, 1, 2], [0, 0, 0])
    with pytest.raises(ValueError, match="partner and seen must be 3 numbers each, got 2, 3"):
        telling_apart(p, [1, 0], [0, 0, 0])
    with pytest.raises(ValueError, match="there must be a text with a partner"):
        telling_apart(p, [0, 1, 2], [0, 0, 0])
