"""Right kernels for joint attention, written another way."""

from cs231n_gen.checking.variants import accepted
from cs231n_gen.kernels.attention import attend
from cs231n_gen.kernels.attention_tiles import keep, tile
from cs231n_gen.kernels.launch import tl, triton


@accepted("kernels.joint_attention.kernel")
@triton.jit
def image_in_one_go(
    q, image_k, image_v, text_k, text_v, visible, out, stats, q_example, q_head, q_token,
    image_example, image_head, image_token, text_example, text_head, text_token,
    heads, T, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * ROWS
    example, h = head // heads, head % heads
    image = (example * image_example + h * image_head) * UNIT
    text = (example * text_example + h * text_head) * UNIT
    q += (example * q_example + h * q_head) * UNIT
    Q = tile(q, first, q_token * UNIT, T, ROWS, D, BLOCK)
    m, l = tl.full([ROWS], float("-inf"), tl.float32), tl.zeros([ROWS], tl.float32)
    O = tl.zeros([ROWS, BLOCK], tl.float32)
    m, l, O = attend(
        Q, image_k + image, image_v + image, None, m, l, O, first, 0, images,
        images, image_token * UNIT, image_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    if visible is not None:
        visible += example * texts
    m, l, O = attend(
        Q, text_k + text, text_v + text, visible, m, l, O, first, 0, texts,
        texts, text_token * UNIT, text_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@accepted("kernels.joint_attention.kernel")
@triton.jit
def by_the_inverse(
    q, image_k, image_v, text_k, text_v, visible, out, stats, q_example, q_head, q_token,
    image_example, image_head, image_token, text_example, text_head, text_token,
    heads, T, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * ROWS
    example = head // heads
    h = head - example * heads
    image = (example * image_example + h * image_head) * UNIT
    text = (example * text_example + h * text_head) * UNIT
    q += (example * q_example + h * q_head) * UNIT
    Q = tile(q, first, q_token * UNIT, T, ROWS, D, BLOCK)
    m, l = tl.full([ROWS], float("-inf"), tl.float32), tl.zeros([ROWS], tl.float32)
    O = tl.zeros([ROWS, BLOCK], tl.float32)
    m, l, O = attend(
        Q, image_k + image, image_v + image, None, m, l, O, first, 0, images // KEYS * KEYS,
        images, image_token * UNIT, image_token * UNIT, scale, False, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    m, l, O = attend(
        Q, image_k + image, image_v + image, None, m, l, O, first, images // KEYS * KEYS, images,
        images, image_token * UNIT, image_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    if visible is not None:
        visible += example * texts
    m, l, O = attend(
        Q, text_k + text, text_v + text, visible, m, l, O, first, 0, texts,
        texts, text_token * UNIT, text_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(out + head * T * D, O * (1 / l)[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1.0 / l, mask=t < T)


@accepted("kernels.joint_attention.kernel")
@triton.jit
def its_own_store(
    q, image_k, image_v, text_k, text_v, visible, out, stats, q_example, q_head, q_token,
    image_example, image_head, image_token, text_example, text_head, text_token,
    heads, T, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * ROWS
    example, h = head // heads, head % heads
    image = (example * image_example + h * image_head) * UNIT
    text = (example * text_example + h * text_head) * UNIT
    q += (example * q_example + h * q_head) * UNIT
    Q = tile(q, first, q_token * UNIT, T, ROWS, D, BLOCK)
    m, l = tl.full([ROWS], float("-inf"), tl.float32), tl.zeros([ROWS], tl.float32)
    O = tl.zeros([ROWS, BLOCK], tl.float32)
    m, l, O = attend(
        Q, image_k + image, image_v + image, None, m, l, O, first, 0, images // KEYS * KEYS,
        images, image_token * UNIT, image_token * UNIT, scale, False, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    m, l, O = attend(
        Q, image_k + image, image_v + image, None, m, l, O, first, images // KEYS * KEYS, images,
        images, image_token * UNIT, image_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    if visible is not None:
        visible += example * texts
    m, l, O = attend(
        Q, text_k + text, text_v + text, visible, m, l, O, first, 0, texts,
        texts, text_token * UNIT, text_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    t = first + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK)[None, :]
    tl.store(
        out + (head * T + t[:, None]) * D + d, (O / l[:, None]), mask=(t[:, None] < T) & (d < D)
    )
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)
