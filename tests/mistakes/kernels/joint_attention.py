"""Typical wrong kernels for joint attention, each with the sentence that explains it."""

from cs231n_gen.checking.variants import mistake
from cs231n_gen.kernels.attention import attend
from cs231n_gen.kernels.attention_tiles import keep, tile
from cs231n_gen.kernels.launch import tl, triton


@mistake(
    "kernels.joint_attention.kernel",
    "Your tokens look at the image alone. The keys of the text come after those of the image, "
    "with the same m, l and O.",
)
@triton.jit
def text_not_attended(
    q, image_k, image_v, text_k, text_v, visible, out, stats, q_example, q_head, q_token,
    image_example, image_head, image_token, text_example, text_head, text_token,
    heads, T, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * ROWS
    example, h = head // heads, head % heads
    image = (example * image_example + h * image_head) * UNIT
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
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "You begin again with the text: m, l and O of the image are thrown away. One softmax goes "
    "over the keys of both.",
)
@triton.jit
def each_stream_by_itself(
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
    m, l = tl.full([ROWS], float("-inf"), tl.float32), tl.zeros([ROWS], tl.float32)
    O = tl.zeros([ROWS, BLOCK], tl.float32)
    m, l, O = attend(
        Q, text_k + text, text_v + text, visible, m, l, O, first, 0, texts,
        texts, text_token * UNIT, text_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "You attend to those keys of the image that fill whole tiles, and leave out the rest: a "
    "second call, from images // KEYS * KEYS on, needs the mask.",
)
@triton.jit
def rest_of_the_image_left_out(
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


@mistake(
    "kernels.joint_attention.kernel",
    "Padding is attended to as if it were words: pass visible to attend.",
)
@triton.jit
def padding_attended(
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
    m, l, O = attend(
        Q, text_k + text, text_v + text, None, m, l, O, first, 0, texts,
        texts, text_token * UNIT, text_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "Every example takes the mask of the first. That of an example begins at visible + "
    "example · texts.",
)
@triton.jit
def words_of_the_first_example(
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
    m, l, O = attend(
        Q, text_k + text, text_v + text, visible, m, l, O, first, 0, texts,
        texts, text_token * UNIT, text_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "You store O itself, a sum of values with weights that add up to l: divide by l.",
)
@triton.jit
def not_divided(
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
    keep(out + head * T * D, O, first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "You look for the text's keys with the strides of the image. Each stream has strides of "
    "its own.",
)
@triton.jit
def text_where_the_image_lies(
    q, image_k, image_v, text_k, text_v, visible, out, stats, q_example, q_head, q_token,
    image_example, image_head, image_token, text_example, text_head, text_token,
    heads, T, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * ROWS
    example, h = head // heads, head % heads
    image = (example * image_example + h * image_head) * UNIT
    text = (example * image_example + h * image_head) * UNIT
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
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "You go through the text as if it had as many tokens as the image: end and S are texts there.",
)
@triton.jit
def keys_of_the_image_counted_for_the_text(
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
    m, l, O = attend(
        Q, text_k + text, text_v + text, None, m, l, O, first, 0, images,
        images, text_token * UNIT, text_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "Every head takes the keys of the first: program i // blocks is a head, of which h = head "
    "% heads is its number in the example.",
)
@triton.jit
def first_head_for_all(
    q, image_k, image_v, text_k, text_v, visible, out, stats, q_example, q_head, q_token,
    image_example, image_head, image_token, text_example, text_head, text_token,
    heads, T, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks * ROWS
    example, h = head // heads, head % heads
    image = (example * image_example + 0 * image_head) * UNIT
    text = (example * text_example + 0 * text_head) * UNIT
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
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "Lanes beyond the last token of the text hold zeros, and a score of 0 is not −∞: the last "
    "call needs MASKED.",
)
@triton.jit
def text_without_a_mask(
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
    m, l, O = attend(
        Q, text_k + text, text_v + text, None, m, l, O, first, 0, texts,
        texts, text_token * UNIT, text_token * UNIT, scale, False, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "The scale is put into the queries as well.",
    public=False,
)
@triton.jit
def scale_twice(
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
    Q = (Q * scale).to(Q.dtype)
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
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "l is stored where 1/l is asked for.",
    public=False,
)
@triton.jit
def sum_instead_of_its_inverse(
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
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "The keys of the image are gone through twice, the first time for nothing.",
    public=False,
)
@triton.jit
def image_read_twice(
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
    m, l = tl.full([ROWS], float("-inf"), tl.float32), l * 0
    O *= 0
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
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "Keys and values of the image are loaded by the stride of q. They are image_token apart.",
    public=False,
)
@triton.jit
def image_by_the_stride_of_q(
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
        images, q_token * UNIT, q_token * UNIT, scale, False, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    m, l, O = attend(
        Q, image_k + image, image_v + image, None, m, l, O, first, images // KEYS * KEYS, images,
        images, q_token * UNIT, q_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
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


@mistake(
    "kernels.joint_attention.kernel",
    "Keys and values of the text are loaded by the stride of the image. They are text_token apart.",
    public=False,
)
@triton.jit
def text_by_the_stride_of_the_image(
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
        texts, image_token * UNIT, image_token * UNIT, scale, True, False, ROWS, KEYS, D, BLOCK,
    )  # fmt: skip
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "Queries are loaded by the stride of the image. They are q_token apart.",
    public=False,
)
@triton.jit
def queries_by_the_stride_of_the_image(
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
    Q = tile(q, first, image_token * UNIT, T, ROWS, D, BLOCK)
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
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "Where an example begins is counted in 32 bits, and beyond element 2³¹ it is another place: "
    "make the number of the head an int64 before it is multiplied.",
)
@triton.jit
def examples_in_32_bits(
    q, image_k, image_v, text_k, text_v, visible, out, stats, q_example, q_head, q_token,
    image_example, image_head, image_token, text_example, text_head, text_token,
    heads, T, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(T, ROWS)
    head, first = (tl.program_id(0) // blocks), tl.program_id(0) % blocks * ROWS
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
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "You scale scores by 1/√D. The caller may ask for another scale, which comes as `scale`, in "
    "bits already.",
)
@triton.jit
def its_own_scale(
    q, image_k, image_v, text_k, text_v, visible, out, stats, q_example, q_head, q_token,
    image_example, image_head, image_token, text_example, text_head, text_token,
    heads, T, images, texts, scale, UNIT: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    scale = 1.4426950408889634 / D**0.5
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
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, 1 / l, mask=t < T)


@mistake(
    "kernels.joint_attention.kernel",
    "Behind the m of all queries of a head stand their 1/l, not l: the backward kernels "
    "multiply by it.",
)
@triton.jit
def l_instead_of_its_inverse(
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
    keep(out + head * T * D, O / l[:, None], first, T, ROWS, D, BLOCK)
    t = first + tl.arange(0, ROWS)
    tl.store(stats + head * 2 * T + t, m, mask=t < T)
    tl.store(stats + head * 2 * T + T + t, l, mask=t < T)
