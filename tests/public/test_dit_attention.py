"""Public checks of chapter 09, attention."""

import math
import re

import pytest
import torch

from cs231n_gen.checking import expect

attend = pytest.mark.exercise("dit_attention.attend")
attention = pytest.mark.exercise("dit_attention.Attention")
cross_attention = pytest.mark.exercise("dit_attention.CrossAttention")
joint_attention = pytest.mark.exercise("dit_attention.JointAttention")
denoiser = pytest.mark.exercise("dit_attention.denoiser_is_attention")

# What rounding leaves where all is computed in float64, in float32, and of a numeric slope.
DOUBLE = {"atol": 1e-11, "rtol": 1e-11}
SINGLE = {"atol": 2e-5, "rtol": 2e-5}
SLOPE = {"atol": 1e-7, "rtol": 1e-6}
TABLE = {"atol": 1e-9, "rtol": 1e-9}


def waves(*shape, rate=7.3, scale=1.0):
    """Any numbers, as long as they are the same everywhere."""
    u = torch.arange(math.prod(shape), dtype=torch.float64)
    return scale * (rate * (1 + u)).sin().reshape(shape)


def numbers(table):
    """Names, each followed by numbers, as a dict."""
    parts = re.findall(r"([a-z][a-z, ]*):([^a-z]*)", table)
    return {
        name: torch.tensor([*map(float, of.split())], dtype=torch.float64) for name, of in parts
    }


def is_the_slope(found, u, difference, name):
    """A gradient, along a direction u, is the difference of nearby results."""
    says = f"no gradient reaches {name}: it was cut out of the graph"
    expect.true(isinstance(found, torch.Tensor), says)
    says = f"the gradient of {name} is not the slope of your own results: nothing may be cut out"
    expect.close((found * u).sum(), difference, says, **SLOPE, what=f"the slope along {name}")


H = 1e-5  # a step that leaves ten digits of a slope in float64


# --- dit_attention.attend -----------------------------------------------------------------------

# softmax(q kᵀ / √d + bias) v of waves, without and with a bias.
ATTENDED = numbers("""
plain: 0.0062214312118 -0.094300365537 -0.027810749456 -0.12794686203 0.035130477153
    -0.20074773472 0.20107286266 -0.101820661 0.16338473365 -0.055650819907 0.050581698466
    0.010156995454
biased: 0.43792609086 -0.443133292 0.34764084602 -0.44155095346 0.35808924951 -0.50274020786
    0.26984794047 -0.0018599312166 0.2209333722 0.079519241212 0.064637437146 0.2509088986
""")


def some_heads(*lead, T=3, S=4, d=3, e=2):
    return waves(*lead, T, d, rate=2.3), waves(*lead, S, d, rate=1.1), waves(*lead, S, e, rate=3.7)


@attend
def test_a_mean_by_hand(student):
    """scores of log 2, log 1 and log 3 weigh three values 2 : 1 : 3"""
    k = torch.eye(4, dtype=torch.float64)[:3]
    q = 2 * torch.tensor([[math.log(2), 0, math.log(3), 9], [0, 0, 0, 5], [0, 0, 0, 1]]).double()
    v = torch.tensor([[6.0, 0.0], [12.0, 0.0], [0.0, 6.0]], dtype=torch.float64)
    got = student.dit_attention.attend(q, k, v)
    want = torch.tensor([[4.0, 3.0], [6.0, 2.0], [6.0, 2.0]])
    says = "d is 4: the product of q and k is halved, and its softmax weighs the values"
    expect.close(got, want, says, atol=1e-6, rtol=1e-6)
    bias = torch.tensor([[0, math.log(5), 0], [0, 0, -math.inf], [0, 40.0, 0]]).double()
    got = student.dit_attention.attend(q, k, v, bias)
    want = torch.tensor([[7.2, 1.8], [9.0, 0.0], [12.0, 0.0]])
    says = "a bias of log 5 makes a key five times as heavy, one of −∞ hides it, one of 40 the rest"
    expect.close(got, want, says, atol=1e-6, rtol=1e-6)


@attend
def test_attention_of_waves(student):
    """T queries, S keys of d numbers, values of e numbers, with a bias and without"""
    q, k, v = some_heads(2, 2, S=7)
    for name, bias in (("plain", None), ("biased", waves(2, 2, 3, 7, rate=0.9))):
        got = expect.tensor(student.dit_attention.attend(3 * q, k, v, bias), (2, 2, 3, 2))
        says = "softmax(q kᵀ / √d + bias) v"
        expect.close(got[1].flatten(), ATTENDED[name], says, **TABLE)


@attend
def test_every_axis_in_front_is_a_batch(student):
    """each (T, d) is answered as it is alone; one query, one key, one number"""
    call = student.dit_attention.attend
    for lead, T, S, d in (
        ((2,), 3, 4, 3),
        ((2, 2), 1, 4, 3),
        ((2, 1, 3), 3, 2, 1),
        ((1,), 3, 1, 2),
    ):
        q, k, v = some_heads(*lead, T=T, S=S, d=d, e=d + 1)
        bias = waves(*lead, q.shape[-2], k.shape[-2], rate=0.7)
        for b in (None, bias):
            got = expect.tensor(call(q, k, v, b), (*q.shape[:-1], v.shape[-1]))
            flat = [t.flatten(0, -3) for t in (q, k, v, bias)]
            for n, one in enumerate(got.flatten(0, -3)):
                alone = call(*(t[n] for t in flat[: 3 if b is None else 4]))
                says = f"q {tuple(q.shape)}: another answer than for its parts alone"
                expect.close(alone, one, says, **DOUBLE)
    q, k, v = some_heads(2, S=1)
    says = "of one key it is the value, whatever the score"
    expect.close(call(q, k, v), v.expand(2, 3, 2), says, **DOUBLE)


@attend
def test_scores_of_any_size(student):
    """scores of ±10⁴ in float32: the best key has all of the weight, equal ones share it"""
    q = torch.tensor([[200.0, 0.0, 0.0, 0.0], [-200.0, 0.0, 0.0, 0.0], [0.0, 200.0, 0.0, 0.0]])
    k = torch.tensor([[100.0, 100.0, 0.0, 0.0], [-100.0, 100.0, 0.0, 0.0], [0.0, -100.0, 0.0, 0.0]])
    v = torch.tensor([[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]])
    for bias in (None, torch.tensor(-3e4)):
        got = student.dit_attention.attend(q, k, v, bias)
        want = torch.tensor([[1.0, 2.0], [3.0, 6.0], [2.0, 4.0]])
        says = "exp of a score of 10⁴ overflows: subtract the largest first"
        expect.close(got, want, says, atol=1e-2, rtol=0)  # such scores have few digits left


@attend
def test_numbers_of_any_size(student):
    """queries as large as keys are small change nothing; large values make large results"""
    (q, k, v), bias = some_heads(2), 30 * waves(3, 4, rate=0.9)
    want = 1e3 * expect.tensor(student.dit_attention.attend(q, k, v, bias), (2, 3, 2))
    for size in (1e3, 1e-3):
        got = student.dit_attention.attend(size * q, k / size, 1e3 * v, bias)
        expect.close(got, want, "no number is too large: nothing is clamped", **TABLE)


@attend
def test_a_bias_of_any_shape(student):
    """a bias of fewer axes, or of length 1, counts for all; it may be in another precision"""
    q, k, v = some_heads(2, 2)
    for heads in ((q, k, v), (q[0], k[0], v[0])):
        full = (*heads[0].shape[:-1], 4)
        for shape in ((), (4,), (3, 1), (3, 4), (2, 1, 1)):
            bias = waves(*shape, rate=0.9)
            got = student.dit_attention.attend(*heads, bias)
            want = student.dit_attention.attend(*heads, bias.expand(full).clone())
            want = expect.tensor(want, (*full[:-1], 2))
            says = f"a bias of shape {shape} is not that bias for all"
            expect.close(got, want, says, **DOUBLE)
    bias = waves(3, 4, rate=0.9)
    want = expect.tensor(student.dit_attention.attend(q, k, v, bias.float().double()), (2, 2, 3, 2))
    got = student.dit_attention.attend(q, k, v, bias.float())
    expect.close(got, want, "a bias in float32 beside queries in float64", **DOUBLE)
    got = student.dit_attention.attend(q.float(), k.float(), v.float(), bias)
    expect.close(got, want, "a bias in float64 beside queries in float32", **SINGLE)
    expect.true(got.dtype == torch.float32, "the precision is that of q", got.dtype, torch.float32)


@attend
def test_hidden_keys_are_not_there(student):
    """a key with bias −∞ changes nothing, whatever it holds, and gets a gradient of exactly 0"""
    q, k, v = some_heads(2)
    bias = torch.tensor([0.0, -math.inf, 0.0, 0.0]).double()
    left = [0, 2, 3]
    want = student.dit_attention.attend(q, k[:, left], v[:, left])
    want = expect.tensor(want, (2, 3, 2))
    for size in (1.0, 1e6):
        k[:, 1], v[:, 1] = size * waves(2, 3), size
        got = student.dit_attention.attend(q, k, v, bias)
        expect.close(got, want, "a key with bias −∞ changes the result", **DOUBLE)
    function, c = student.function("dit_attention.attend"), waves(2, 3, 2, rate=0.7)
    found = student.gradient("checking.fakes.weighted", function, c, q, k, v, bias, wrt=[k, v])
    for name, g in zip(("k", "v"), found, strict=True):
        g = expect.tensor(g, k.shape if name == "k" else v.shape, f"the gradient of {name}")
        expect.true(
            bool((g[:, 1] == 0).all()), f"a hidden key's {name} gets a gradient", g[:, 1], 0
        )
        expect.true(bool((g[:, left] != 0).any()), f"no gradient of {name} for the other keys")


@attend
def test_a_query_that_sees_nothing(student):
    """a query from which all keys are hidden gets 0, and gives gradients of 0, not NaN"""
    for dtype in (torch.float32, torch.float64):
        q, k, v = (t.to(dtype) for t in some_heads(2))
        bias = torch.zeros(2, 3, 4, dtype=dtype)
        bias[1, 2] = -math.inf
        want = student.dit_attention.attend(q, k, v)
        got = expect.tensor(student.dit_attention.attend(q, k, v, bias), (2, 3, 2))
        expect.true(bool((got[1, 2] == 0).all()), "a query without keys gets 0", got[1, 2], 0)
        says = "the other queries are answered as ever"
        expect.close(got[:, :2], expect.tensor(want, (2, 3, 2))[:, :2], says)
        function, c = student.function("dit_attention.attend"), waves(2, 3, 2, rate=0.7).to(dtype)
        found = student.gradient(
            "checking.fakes.weighted", function, c, q, k, v, bias, wrt=[q, k, v, bias]
        )
        for name, g, x in zip(("q", "k", "v", "bias"), found, (q, k, v, bias), strict=True):
            expect.tensor(g, x.shape, f"the gradient of {name}")
        blind = [bool((found[n][1, 2] == 0).all()) for n in (0, 3)]
        expect.true(all(blind), "a query without keys gives gradients of 0")


@attend
def test_the_slope_of_each_argument(student):
    """gradients reach q, k, v and the bias"""
    q, k, v = some_heads(2)
    for bias in (waves(2, 3, 4, rate=0.9), waves(4, rate=0.9), waves(3, 1, rate=0.9)):
        given, names = [q, k, v, bias], ["q", "k", "v", "bias"]
        function, c = student.function("dit_attention.attend"), waves(2, 3, 2, rate=0.7)
        found = student.gradient("checking.fakes.weighted", function, c, *given, wrt=given)
        for n, name in enumerate(names):
            u, ends = waves(*given[n].shape, rate=3.1 + n), []
            for h in (H, -H):
                moved = [x + h * u if x is given[n] else x for x in given]
                result = expect.tensor(student.dit_attention.attend(*moved), (2, 3, 2))
                ends.append((c * result).sum())
            is_the_slope(found[n], u, (ends[0] - ends[1]) / (2 * H), name)
    (found,) = student.gradient("checking.fakes.weighted", function, c, q, k, v, wrt=[q])
    expect.tensor(found, q.shape, "the gradient of q, without a bias")


@attend
def test_heads_that_do_not_fit(student):
    """q and k of another d, or k and v of another S, raise a ValueError"""
    q, k, v = some_heads(2, 2)
    call = student.dit_attention.attend
    for k_, v_ in ((k[..., :1], v), (k, v[..., :3, :]), (k[..., :1, :], v), (k, v[..., :1, :])):
        shapes = f"q {tuple(q.shape)}, k {tuple(k_.shape)}, v {tuple(v_.shape)}"
        says = f"ValueError for {shapes}: leave the lines above yours as they are"
        expect.raises("ValueError", lambda k=k_, v=v_: call(q, k, v), says)


# --- layers with weights that are the same everywhere ---------------------------------------------

# Every third token and every third number of what `filled` layers make of waves.
LAYERS = numbers("""
attention: -5.236188773 -4.1614977767 -0.28473324395 -5.277048254 -4.1721208094 -0.25812725705
    -5.2323002695 -4.1479326418 -0.27042067652 -5.1840834023 -4.1300048523 -0.29458286465
normalised: 1.785873859 -0.40856437873 -1.552813963 1.8731057826 -0.50571074583 -1.667296532
    2.134882504 -0.04525380472 -1.7999099177 2.2497074997 0.22515638609 -1.8388818226
grid: -5.2328568223 -4.1215995649 -0.23453161853 -5.3119650192 -4.041329724 -0.047721060265
    -5.1425436488 -4.0316946355 -0.20421451448 -5.3096604024 -3.995994083 0.010803590024
other grid: -5.2501359944 -4.1530313692 -0.25942618832 -5.3305489162 -4.1838274792 -0.22033406322
    -5.0586743156 -4.0866921918 -0.36187702594 -5.1709860065 -4.1871329991 -0.3843321666
one row: -5.266439737 -4.1237484732 -0.20383200975 -5.3364941195 -4.2039269312 -0.24135737531
    -5.2817454548 -4.1168078014 -0.17921361943 -5.2581964435 -4.0727398692 -0.14363431663
normalised, grid: -0.16553323143 0.21551631396 0.57365476025 -0.43845522769 0.22902185877
    0.85036521329 -0.34560162885 0.57873359785 0.85560967895 -1.0561665693 0.027820285392
    1.4116372573
split, plain, none: 0.50200645403 -0.97708912346 -0.16427971745 0.66618947279 -0.76762140631
    0.35059066019 0.84123296287 -0.4358326518 0.65524882309 0.58935144316 -0.86249709189
    0.42014511182
split, plain, grid: 0.4094718603 -1.0885026182 0.3336631551 -0.46224843867 -1.1226207456
    0.55616547284 -0.19141103111 0.059530481357 0.65524882309 0.58935144316 -0.86249709189
    0.42014511182
split, normalised, none: 0.75205798721 -3.6191660983 -0.12822032092 2.3539572116 -0.60510397098
    0.84266022517 3.314229444 -0.9964903432 0.65524882309 0.58935144316 -0.86249709189
    0.42014511182
split, normalised, grid: 0.51423234435 -3.9362304812 0.56355724008 -1.7735747515 -3.1157669849
    1.2938089732 1.2815083764 0.17066809933 0.65524882309 0.58935144316 -0.86249709189
    0.42014511182
cross: 0.53004646702 -0.15873814466 -0.78313398913 1.426449435
cross, mask: -0.13043382448 1.084306771 3.8508086582 -3.9135673615
joint, tokens: -2.4767313784 -1.7132399961 0.24076846266 -2.5631350175 -1.595692043 0.48489251084
    -2.724081982 -1.6466774922 0.57742955667 -2.5612638669 -1.6048046327 0.47079450865
joint, words: 0.8948292557 0.11429423316 -1.7701890777 1.3788366055 -0.85249995163 -0.60978673723
    1.6125975775 -0.72065199331 -1.0678064643 0.79564035547 0.35755727819 -2.084763639
joint, mask, tokens: -2.7876461308 -2.153975587 -0.039675424442 -3.1155636606 -2.1798318889
    0.25354931484 -4.3286717633 -3.0987273594 0.2337259579 -4.1715629343 -3.105820848
    0.067099413837
joint, mask, words: 0.94133015102 0.10731691961 -1.8048223364 1.4993499358 -0.83455301352
    -0.76082581896 0 -0 -0 0 0 -0
joint, grid, tokens: -1.5380032687 -0.55774837774 1.72921538 -0.18700984817 2.590525153
    1.2613479899 -0.65971794584 1.8150352335 1.5165224687 -1.1144685379 1.2504363249 1.8128967355
joint, grid, words: -4.6768396339 0.055590567878 5.94528986 2.4369849185 2.047833794 -2.6188267962
    -0 0 0 -0 -0 0
joint, other grid, tokens: 1.1126548512 -1.1237172622 -1.0802033588 3.3740715893 3.2755296722
    -2.1075819983 0.48512968647 3.9317124821 0.96542654121 2.8682954386 2.7062163515 -1.7615046184
joint, other grid, words: -4.3480484933 -2.1574783999 7.2275452055 1.9780982726 1.4645165974
    -1.7353030814 -2.5462947263 1.7872122808 2.5541773349 -3.9397145823 -2.0669927134 6.7533404837
""")


def filled(student, name, *args, **kwargs):
    """A layer in float64 with weights that are the same everywhere, and these by name."""
    layer = student.new(f"dit_attention.{name}", *args, **kwargs)
    layer.call("double")
    state = layer.state()
    for n, (name, old) in enumerate(state.items()):
        state[name] = ("norm" in name) * 1.5 + waves(*old.shape, rate=1.7 + n)
    layer.load(state)
    return layer, state


def some(x):
    return x[:, ::3, ::3].flatten()


def is_in_the_table(got, shape, case, says):
    got = expect.tensor(got, shape)
    expect.close(some(got), LAYERS[case], f"{says} ({case})", **TABLE)


def slopes_are_right(student, layer, state, given, names, fake="weighted", c=None, **options):
    """The gradient of every argument and of every weight is the slope of the layer's results."""

    def total(*args):
        results = layer(*args, **options)
        if fake == "weighted":
            return (c * expect.tensor(results, c.shape)).sum()
        pairs = zip(c, expect.unpack(results, ("x", "y")), strict=True)
        return sum((w * expect.tensor(r, w.shape)).sum() for w, r in pairs)

    found = student.gradient(
        f"checking.fakes.{fake}", layer, c, *given, wrt=[*given, layer], **options
    )
    for n, x in enumerate(given):
        u = waves(*x.shape, rate=3.1 + n)
        ends = [total(*(y + h * u if y is x else y for y in given)) for h in (H, -H)]
        is_the_slope(found[n], u, (ends[0] - ends[1]) / (2 * H), names[n])
    for n, (name, w) in enumerate(state.items()):
        u, ends = waves(*w.shape, rate=2.9 + n), []
        for h in (H, -H):
            layer.load(state | {name: w + h * u})
            ends.append(total(*given))
        is_the_slope(found[-1].get(name), u, (ends[0] - ends[1]) / (2 * H), name)
    layer.load(state)


def in_float32_too(layer, *given, **options):
    """As made, in float32, a layer answers as in float64."""
    single = layer(*(x.float() for x in given), **options)
    layer.call("double")
    double = layer(*(x.float().double() for x in given), **options)
    if isinstance(single, torch.Tensor):
        single, double = (single,), (double,)
    pairs = zip(expect.unpack(single, "xy"[: len(single)]), double, strict=True)
    for one, other in pairs:
        other = expect.tensor(other, tuple(other.shape))
        expect.close(one, other, "another answer in float32 than in float64", **SINGLE)


def in_use(student, layer, state):
    """A layer in evaluation, with gradients in its weights; what comes in is made a hundred times
    smaller, and what goes out as much larger."""
    for name, w in state.items():
        into = name.endswith("qkv.weight") or name in ("q.weight", "kv.weight")
        size = 100.0 if "out" in name else 0.01 if into else 1.0
        state = state | {name: size * w}
    layer.load(state)
    layer.call("eval")
    student.checking.fakes.holding_gradients(layer)


# --- dit_attention.Attention --------------------------------------------------------------------

X = (2, 6, 8)  # two examples of 2 · 3 tokens


@attention
def test_tokens_attend_to_each_other(student):
    """its results are those of these weights: q, k, v of every head, attention, out"""
    layer, _ = filled(student, "Attention", 8, 2)
    says = "other numbers: look at the order of q, k, v and of heads, and at `out`"
    is_in_the_table(layer(waves(*X)), X, "attention", says)


@attention
def test_normalised_queries_and_keys(student):
    """with qk_norm each head's queries and keys are normalised; longer ones change nothing"""
    layer, state = filled(student, "Attention", 8, 2, qk_norm=True)
    x = waves(*X)
    got = expect.tensor(layer(x), X)
    is_in_the_table(got, X, "normalised", "other numbers, with QK-norm")
    rows = torch.ones(24, 1, dtype=torch.float64)
    rows[4:8], rows[8:12] = 7.0, 0.5  # the second head's queries, the first head's keys
    longer = {"qkv.weight": rows * state["qkv.weight"], "qkv.bias": rows[:, 0] * state["qkv.bias"]}
    layer.load(state | longer)
    says = "queries or keys that are longer change the result: each head is normalised by itself"
    expect.close(layer(x), got, says, atol=1e-4, rtol=1e-4)


@attention
def test_tokens_that_change_places(student):
    """without a grid tokens that change places change places; each example is by itself"""
    layer, _ = filled(student, "Attention", 8, 2, qk_norm=True)
    x, order = waves(*X), [3, 0, 5, 1, 4, 2]
    got = expect.tensor(layer(x), X)
    expect.close(layer(x[:, order]), got[:, order], "it knows of an order of tokens", **DOUBLE)
    says = "an example depends on the others of its batch"
    expect.close(layer(x[1:]), got[1:], says, **DOUBLE)


@attention
def test_a_grid_turns_queries_and_keys(student):
    """with a grid q and k are turned, after the norm, and v is not"""
    layer, _ = filled(student, "Attention", 8, 2)
    is_in_the_table(layer(waves(*X), (2, 3)), X, "grid", "other numbers, with a grid (2, 3)")
    is_in_the_table(layer(waves(*X), (3, 2)), X, "other grid", "other numbers, with a grid (3, 2)")
    is_in_the_table(layer(waves(*X), (1, 6)), X, "one row", "other numbers, with a grid (1, 6)")
    layer, _ = filled(student, "Attention", 8, 2, True)
    says = "other numbers, with a grid and QK-norm: first the norm, then the turn"
    is_in_the_table(layer(waves(*X), (2, 3)), X, "normalised, grid", says)
    expect.raises("ValueError", lambda: layer(waves(*X), (2, 2)), "6 tokens are no grid of 2 · 2")


@attention
def test_what_is_ready_for_attend(student):
    """split gives [q, k, v], (batch, heads, tokens, dim / heads) each"""
    x = waves(*X)
    for qk_norm in (False, True):
        layer, _ = filled(student, "Attention", 8, 2, qk_norm)
        for grid in (None, (2, 3)):
            got = expect.unpack(layer.call("split", x, grid), ("q", "k", "v"))
            got = [expect.tensor(t, (2, 2, 6, 4), n) for n, t in zip("qkv", got, strict=True)]
            case = f"split, {'normalised' if qk_norm else 'plain'}, {'grid' if grid else 'none'}"
            says = f"q, k and v of the second head ({case})"
            fifth = torch.cat([t[1, 1, 4] for t in got])
            expect.close(fifth, LAYERS[case], says, **TABLE)


@attention
def test_the_slopes_of_attention(student):
    """gradients reach the tokens and every weight"""
    for qk_norm in (False, True):
        layer, state = filled(student, "Attention", 8, 2, qk_norm)
        c = waves(*X, rate=0.7)
        for options in ({}, {"grid": (2, 3)}):
            slopes_are_right(student, layer, state, [waves(*X, scale=0.3)], ["x"], c=c, **options)


@attention
def test_attention_of_every_size(student):
    """one token, one example, one head, heads of one number; in float32 too"""
    layer, state = filled(student, "Attention", 4, 4)
    x = waves(1, 1, 4)
    got = expect.tensor(layer(x), (1, 1, 4))
    v = x @ state["qkv.weight"][8:].T + state["qkv.bias"][8:]
    want = v @ state["out.weight"].T + state["out.bias"]
    expect.close(got, want, "a token alone attends to itself: out of its v", **DOUBLE)
    layer, _ = filled(student, "Attention", 3, 1, True)
    expect.tensor(layer(waves(2, 2, 3)), (2, 2, 3))
    for qk_norm in (False, True):
        layer = student.new("dit_attention.Attention", 12, 3, qk_norm)
        in_float32_too(layer, waves(2, 6, 12), grid=(3, 2))


@attention
def test_large_tokens(student):
    """tokens and results have no bounds; a layer in use is left as it is"""
    for options in ({}, {"grid": (2, 3)}):
        layer, state = filled(student, "Attention", 8, 2)
        x = waves(*X)
        want = 100 * expect.tensor(layer(x, **options), X)
        in_use(student, layer, state)
        says = "tokens a hundred times as large, of weights as much smaller"
        expect.close(layer(100 * x, **options), want, says, **TABLE)
        for part in expect.unpack(layer.call("split", 100 * x, **options), ("q", "k", "v")):
            expect.tensor(part, (2, 2, 6, 4))


# --- dit_attention.CrossAttention ---------------------------------------------------------------

Y = (2, 4, 5)
MASK = torch.tensor([[True, False, True, True], [False, True, False, False]])
MASKS = (MASK[:, 1:], MASK[:1], MASK[0], MASK[:, :1], MASK[..., None], MASK.float(), MASK.long())


def masks_are_refused(layer, x, y):
    for mask in MASKS:
        says = f"ValueError for a mask of {mask.dtype} {tuple(mask.shape)} for texts (2, 4)"
        expect.raises("ValueError", lambda m=mask: layer(x, y, m), says)


@cross_attention
def test_tokens_attend_to_words(student):
    """its results are those of these weights, with a mask and without"""
    layer, _ = filled(student, "CrossAttention", 6, 5, 2)
    x, y = waves(2, 3, 6), waves(*Y, rate=1.9)
    is_in_the_table(layer(x, y), (2, 3, 6), "cross", "other numbers")
    is_in_the_table(layer(x, y, MASK), (2, 3, 6), "cross, mask", "other numbers, with a mask")
    got = layer(x, y, torch.ones_like(MASK))
    is_in_the_table(got, (2, 3, 6), "cross", "a mask of True hides nothing")


@cross_attention
def test_padding_is_not_there(student):
    """padding changes nothing, whatever it holds, and gets a gradient of exactly 0"""
    layer, _ = filled(student, "CrossAttention", 6, 5, 2)
    x, y, c = waves(2, 3, 6), waves(*Y, rate=1.9), waves(2, 3, 6, rate=0.7)
    want = [layer(x[n : n + 1], y[n : n + 1, MASK[n]]) for n in range(2)]
    want = torch.cat([expect.tensor(w, (1, 3, 6)) for w in want])
    for size in (1.0, 1e4):
        filled_in = torch.where(MASK[..., None], y, size * waves(*Y, rate=0.3))
        got = layer(x, filled_in, MASK)
        expect.close(got, want, "another answer than to the words alone", **DOUBLE)
    (to_y,) = student.gradient("checking.fakes.weighted", layer, c, x, y, MASK, wrt=[y])
    to_y = expect.tensor(to_y, y.shape, "the gradient of y")
    expect.true(bool((to_y[~MASK] == 0).all()), "padding gets a gradient", to_y[~MASK], 0)


@cross_attention
def test_a_text_of_padding_alone(student):
    """it leaves b_out, and no NaN, neither in results nor in gradients"""
    layer, state = filled(student, "CrossAttention", 6, 5, 2)
    x, y, c = waves(2, 3, 6), waves(*Y, rate=1.9), waves(2, 3, 6, rate=0.7)
    mask = MASK.clone()
    mask[0] = False
    got = expect.tensor(layer(x, y, mask), x.shape)
    want = state["out.bias"].expand(3, 6)
    expect.close(got[0], want, "a text of padding alone leaves b_out", **DOUBLE)
    to_x, to_y, found = student.gradient(
        "checking.fakes.weighted", layer, c, x, y, mask, wrt=[x, y, layer]
    )
    for name, g in {"x": to_x, "y": to_y, **found}.items():
        says = f"NaN comes to {name} from a text of padding alone"
        expect.true(isinstance(g, torch.Tensor) and bool(g.isfinite().all()), says)
    expect.true(bool((to_y[0] == 0).all() and (to_x[0] == 0).all()), "it gives gradients of 0")


@cross_attention
def test_the_order_of_words(student):
    """words that change places with their mask change nothing; an example is by itself"""
    layer, _ = filled(student, "CrossAttention", 6, 5, 2)
    x, y, order = waves(2, 3, 6), waves(*Y, rate=1.9), [2, 0, 3, 1]
    want = expect.tensor(layer(x, y, MASK), x.shape)
    got = layer(x, y[:, order], MASK[:, order])
    expect.close(got, want, "the order of words tells something", **DOUBLE)
    got = layer(x[1:], y[1:], MASK[1:])
    expect.close(got, want[1:], "an example depends on the others of its batch", **DOUBLE)


@cross_attention
def test_the_slopes_of_cross_attention(student):
    """gradients reach the tokens, the words and every weight"""
    layer, state = filled(student, "CrossAttention", 6, 5, 2)
    given, c = [waves(2, 3, 6, scale=0.3), waves(*Y, rate=1.9)], waves(2, 3, 6, rate=0.7)
    for options in ({}, {"mask": MASK}):
        slopes_are_right(student, layer, state, given, ["x", "y"], c=c, **options)


@cross_attention
def test_cross_attention_of_every_size(student):
    """one token, one word, one example, one head; in float32 too"""
    for dim, heads in ((4, 4), (3, 1)):
        layer, state = filled(student, "CrossAttention", dim, 2, heads)
        x, y = waves(1, 2, dim), waves(1, 1, 2)
        v = y @ state["kv.weight"][dim:].T + state["kv.bias"][dim:]
        want = (v @ state["out.weight"].T + state["out.bias"]).expand(1, 2, dim)
        expect.close(layer(x, y), want, "of one word each token gets its v, through out", **DOUBLE)
    layer = student.new("dit_attention.CrossAttention", 6, 5, 2)
    in_float32_too(layer, waves(2, 3, 6), waves(*Y), mask=MASK)


@cross_attention
def test_masks_that_do_not_fit(student):
    """a mask that is not one truth value for each token of the text raises a ValueError"""
    layer, _ = filled(student, "CrossAttention", 6, 5, 2)
    masks_are_refused(layer, waves(2, 3, 6), waves(*Y))


@cross_attention
def test_large_tokens_and_words(student):
    """tokens, words and results have no bounds; a layer in use is left as it is"""
    layer, state = filled(student, "CrossAttention", 6, 5, 2)
    x, y = waves(2, 3, 6), waves(*Y, rate=1.9)
    want = 100 * expect.tensor(layer(x, y, MASK), x.shape)
    in_use(student, layer, state)
    says = "numbers a hundred times as large, of weights as much smaller"
    expect.close(layer(100 * x, 100 * y, MASK), want, says, **TABLE)


# --- dit_attention.JointAttention ---------------------------------------------------------------

WORDS = (2, 4, 8)


def both_are(got, want, says, **digits):
    got = expect.unpack(got, ("x", "y"))
    for one, other, name in zip(got, want, ("tokens", "words"), strict=True):
        expect.close(one, other, f"{says}: other {name}", what=f"the {name}", **digits)


def both_in_the_table(got, case, says, mask=None):
    """What is in the places of padding is any number."""
    x, y = expect.unpack(got, ("x", "y"))
    is_in_the_table(x, X, f"{case}, tokens", says)
    y = expect.tensor(y, WORDS, "the words")
    is_in_the_table(y if mask is None else y * mask[..., None], WORDS, f"{case}, words", says)


@joint_attention
def test_both_attend_to_both(student):
    """its results are those of these weights, with a mask and without"""
    layer, _ = filled(student, "JointAttention", 8, 2)
    x, y = waves(*X), waves(*WORDS, rate=1.9)
    both_in_the_table(layer(x, y), "joint", "other numbers")
    both_in_the_table(layer(x, y, MASK), "joint, mask", "other numbers, with a mask", MASK)
    both_in_the_table(layer(x, y, torch.ones_like(MASK)), "joint", "a mask of True hides nothing")


@joint_attention
def test_equal_weights_make_one_attention(student):
    """with equal weights in both it is one `Attention` of the image's tokens, then the text's"""
    joint, state = filled(student, "JointAttention", 8, 2, True)
    own = {n.removeprefix("image."): w for n, w in state.items() if n.startswith("image.")}
    joint.load({f"{stream}.{n}": w for stream in ("image", "text") for n, w in own.items()})
    one, _ = filled(student, "Attention", 8, 2, True)
    one.load(own)
    x, y = waves(*X), waves(*WORDS, rate=1.9)
    want = expect.tensor(one(torch.cat([x, y], dim=1)), (2, 10, 8))
    both_are(joint(x, y), (want[:, :6], want[:, 6:]), "not one attention of both", **DOUBLE)


@joint_attention
def test_a_grid_turns_the_image_alone(student):
    """with a grid the image's q and k are turned, the text's are not"""
    layer, _ = filled(student, "JointAttention", 8, 2, qk_norm=True)
    x, y = waves(*X), waves(*WORDS, rate=1.9)
    says = "other numbers, with a grid and QK-norm"
    both_in_the_table(layer(x, y, MASK, (2, 3)), "joint, grid", says, MASK)
    both_in_the_table(layer(x, y, grid=(3, 2)), "joint, other grid", says)


@joint_attention
def test_padding_of_a_joint_text(student):
    """padding changes nothing for tokens and words, and gets a gradient of exactly 0 from them"""
    layer, _ = filled(student, "JointAttention", 8, 2)
    x, y = waves(*X), waves(*WORDS, rate=1.9)
    for size in (1.0, 1e4):
        filled_in = torch.where(MASK[..., None], y, size * waves(*WORDS, rate=0.3))
        tokens, words = expect.unpack(layer(x, filled_in, MASK), ("x", "y"))
        expect.tensor(tokens, X), expect.tensor(words, WORDS)
        for n in range(2):
            want = expect.unpack(layer(x[n : n + 1], y[n : n + 1, MASK[n]]), ("x", "y"))
            got = tokens[n : n + 1], words[n : n + 1, MASK[n]]
            want = [expect.tensor(w, g.shape) for w, g in zip(want, got, strict=True)]
            both_are(got, want, "another answer than to the words alone", **DOUBLE)
    c = [waves(*X, rate=0.7), waves(*WORDS, rate=0.6) * MASK[..., None]]
    (to_y,) = student.gradient("checking.fakes.weighted_both", layer, c, x, y, MASK, wrt=[y])
    to_y = expect.tensor(to_y, y.shape, "the gradient of y")
    expect.true(bool((to_y[~MASK] == 0).all()), "padding gets a gradient", to_y[~MASK], 0)


@joint_attention
def test_an_image_whose_text_is_padding(student):
    """its tokens attend to each other alone; no NaN in results or gradients"""
    layer, state = filled(student, "JointAttention", 8, 2)
    one, _ = filled(student, "Attention", 8, 2)
    one.load({n.removeprefix("image."): w for n, w in state.items() if n.startswith("image.")})
    x, y, mask = waves(*X), waves(*WORDS, rate=1.9), MASK.clone()
    mask[0] = False
    tokens, words = expect.unpack(layer(x, y, mask), ("x", "y"))
    tokens, _ = expect.tensor(tokens, X), expect.tensor(words, WORDS)
    want = expect.tensor(one(x[:1]), (1, 6, 8))
    expect.close(tokens[:1], want, "without words the image attends to itself", **DOUBLE)
    c = [waves(*X, rate=0.7), waves(*WORDS, rate=0.6)]
    to_x, to_y, found = student.gradient(
        "checking.fakes.weighted_both", layer, c, x, y, mask, wrt=[x, y, layer]
    )
    for name, g in {"x": to_x, "y": to_y, **found}.items():
        says = f"NaN comes to {name} from a text of padding alone"
        expect.true(isinstance(g, torch.Tensor) and bool(g.isfinite().all()), says)


@joint_attention
def test_the_slopes_of_joint_attention(student):
    """gradients reach tokens, words and every weight of both"""
    layer, state = filled(student, "JointAttention", 8, 2, True)
    given, c = [waves(*X, scale=0.3), waves(*WORDS)], [waves(*X, rate=0.7), waves(*WORDS, rate=0.6)]
    for options in ({}, {"mask": MASK, "grid": (2, 3)}):
        slopes_are_right(student, layer, state, given, ["x", "y"], "weighted_both", c=c, **options)


@joint_attention
def test_joint_attention_of_every_size(student):
    """one token, one word, one example, one head; each example by itself; in float32 too"""
    for dim, heads in ((4, 4), (3, 1)):
        layer, _ = filled(student, "JointAttention", dim, heads)
        x, y = waves(2, 1, dim), waves(2, 1, dim, rate=1.9)
        got = expect.unpack(layer(x, y), ("x", "y"))
        got = [expect.tensor(t, (2, 1, dim)) for t in got]
        alone = layer(x[:1], y[:1], torch.ones(1, 1, dtype=torch.bool))
        says = "an example depends on the others of its batch"
        both_are(alone, [t[:1] for t in got], says, **DOUBLE)
    layer = student.new("dit_attention.JointAttention", 8, 2, True)
    in_float32_too(layer, waves(*X), waves(*WORDS), mask=MASK, grid=(2, 3))


@joint_attention
def test_joint_masks_that_do_not_fit(student):
    """a mask that is not one truth value for each token of the text raises a ValueError"""
    layer, _ = filled(student, "JointAttention", 8, 2)
    masks_are_refused(layer, waves(*X), waves(*WORDS))


@joint_attention
def test_large_tokens_of_both(student):
    """tokens, words and results have no bounds; a layer in use is left as it is"""
    layer, state = filled(student, "JointAttention", 8, 2)
    x, y = waves(*X), waves(*WORDS, rate=1.9)
    x_, y_ = expect.unpack(layer(x, y, MASK, (2, 3)), ("x", "y"))
    seen = MASK[..., None]
    want = 100 * expect.tensor(x_, X), 100 * expect.tensor(y_, WORDS) * seen
    in_use(student, layer, state)
    x_, y_ = expect.unpack(layer(100 * x, 100 * y, MASK, (2, 3)), ("x", "y"))
    says = "numbers a hundred times as large, of weights as much smaller"
    both_are((x_, expect.tensor(y_, WORDS) * seen), want, says, **TABLE)


# --- dit_attention.denoiser_is_attention --------------------------------------------------------


def given_x_t(x_t, a, b, data):
    """Σ_i softmax_i(−‖x_t − a x_i‖² / 2b²) x_i, all differences at once."""
    off = x_t.double().flatten(1)[:, None] - a * data.double().flatten(1)
    p = (-off.square().sum(-1) / (2 * b**2)).softmax(1)
    return (p @ data.double().flatten(1)).reshape(x_t.shape)


@denoiser
def test_two_data_on_a_line(student):
    """of data ±1 it is tanh(a x_t / b²)"""
    x_t = torch.tensor([[-1.5], [0.0], [0.4], [2.0]], dtype=torch.float64)
    data = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    for a, b in ((1.0, 1.0), (0.5, 1.0), (1.0, 2.0), (2, 3)):
        got = student.dit_attention.denoiser_is_attention(x_t, a, b, data)
        expect.close(got, torch.tanh(a * x_t / b**2), f"for a = {a} and b = {b}", **TABLE)


@denoiser
def test_it_is_the_mean_of_x_given_x_t(student):
    """it is E[x | x_t] for points and for images, one datum or many, one example or many"""
    for examples, n, shape in ((5, 4, (3,)), (4, 3, (2, 2, 2)), (1, 2, (3,)), (3, 1, (1, 1))):
        data = 0.5 + waves(examples, *shape)
        for a, b in ((0.4, 0.6), (1.0, 2.5), (3.0, 4.0), (0.0, 1.0)):
            x_t = waves(n, *shape, rate=2.1, scale=1.5)
            got = student.dit_attention.denoiser_is_attention(x_t, a, b, data)
            says = f"{examples} data, {n} examples of shape {shape}, a = {a}, b = {b}"
            expect.close(got, given_x_t(x_t, a, b, data), says, **TABLE)


@denoiser
def test_little_noise_and_much(student):
    """for small b it is the nearest datum, for large b the mean of the data"""
    for dtype in (torch.float32, torch.float64):
        data = waves(6, 1, 3, 3, scale=2.0).to(dtype)
        x_t = 0.7 * data[[4, 0, 2]] + 0.01 * waves(3, 1, 3, 3, rate=0.9).to(dtype)
        got = student.dit_attention.denoiser_is_attention(x_t, 0.7, 1e-4, data)
        says = "for b = 1e-4 it is the datum, without overflow"
        expect.close(got, data[[4, 0, 2]], says, atol=1e-6, rtol=1e-6)
        expect.true(got.dtype == dtype, "the precision is that of x_t", got.dtype, dtype)
        got = student.dit_attention.denoiser_is_attention(x_t, 0.7, 1e6, data)
        want = data.double().mean(0).expand(3, 1, 3, 3)
        expect.close(got, want, "for b = 1e6 it is the mean", atol=1e-6, rtol=1e-6)


@denoiser
def test_numbers_a_thousand_times_as_small(student):
    """x_t, b and data that are scaled alike scale the answer"""
    data, x_t = waves(5, 3), waves(4, 3, rate=2.1)
    for c in (1e-3, 1e-6, 1e3):
        got = student.dit_attention.denoiser_is_attention(c * x_t, 0.6, c * 0.5, c * data)
        got = expect.tensor(got, (4, 3)) / c
        says = f"all numbers times {c:g}: b may be small and large"
        expect.close(got, given_x_t(x_t, 0.6, 0.5, data), says, **TABLE)


@denoiser
def test_a_datum_that_comes_twice(student):
    """a datum that comes twice is twice as likely"""
    data, x_t = waves(3, 2)[[0, 1, 2, 1]], waves(4, 2, rate=2.1)
    got = student.dit_attention.denoiser_is_attention(x_t, 0.6, 0.9, data)
    expect.close(got, given_x_t(x_t, 0.6, 0.9, data), "each of the data counts once", **TABLE)


@denoiser
def test_digits_far_from_0(student):
    """computed in float64: data around 1000 keep their digits, in float32 and mixed too"""
    single, double = torch.float32, torch.float64
    for one, other in ((double, double), (single, single), (single, double), (double, single)):
        data = (1000 + waves(5, 3)).to(other)
        x_t = (750 + waves(4, 3, rate=2.1)).to(one)
        want = 1000 + given_x_t(x_t.double() - 750, 0.75, 0.5, data.double() - 1000)
        got = student.dit_attention.denoiser_is_attention(x_t, 0.75, 0.5, data)
        says = f"digits are lost: x_t in {one}, data in {other}"
        expect.close(got, want, says, atol=1e-4 if one == single else 1e-6, rtol=1e-7)
        expect.true(got.dtype == one, "the precision is that of x_t", got.dtype, one)


@denoiser
def test_the_slope_of_the_denoiser(student):
    """gradients flow into x_t"""
    data, x_t, c = waves(5, 3), waves(4, 3, rate=2.1), waves(4, 3, rate=0.7)
    function = student.function("dit_attention.denoiser_is_attention")
    args = 0.6, 0.8, data
    (found,) = student.gradient("checking.fakes.weighted", function, c, x_t, *args, wrt=[x_t])
    u, ends = waves(4, 3, rate=3.1), []
    for h in (H, -H):
        result = student.dit_attention.denoiser_is_attention(x_t + h * u, *args)
        ends.append((c * expect.tensor(result, (4, 3))).sum())
    is_the_slope(found, u, (ends[0] - ends[1]) / (2 * H), "x_t")


@denoiser
def test_it_is_one_call_of_attend(student):
    """it calls `attend` once, and returns its answer"""
    data, x_t = waves(5, 2, 2), waves(3, 2, 2, rate=2.1)
    function = student.function("dit_attention.denoiser_is_attention")
    got = student.checking.fakes.with_another_attend(function, 1.0, x_t, 0.6, 0.7, data)
    answer, calls = expect.unpack(got, ("the result", "the number of calls"))
    expect.true(calls == 1, "`attend` is called once for all examples", calls, 1)
    want = 1 + given_x_t(x_t, 0.6, 0.7, data)
    says = "were each number of what `attend` answers 1 more, so would be each of the result"
    expect.close(answer, want, says, **TABLE)


@denoiser
def test_what_a_denoiser_refuses(student):
    """b that is not positive, and data that are not shaped like the examples, raise a ValueError"""
    call, x = student.dit_attention.denoiser_is_attention, waves(4, 3)
    for b in (0.0, -1.0, math.nan):
        expect.raises("ValueError", lambda b=b: call(x, 0.5, b, x), f"ValueError for b = {b}")
    for shape in ((4, 2), (4, 1), (4, 3, 1), (3,), (0, 3)):
        says = f"ValueError for data of shape {shape}, x_t of shape (4, 3)"
        expect.raises("ValueError", lambda s=shape: call(x, 0.5, 0.5, x.new_ones(s)), says)
