"""Triton kernels for passes over few rows, where torch's own read memory slowly or take several launches.

A pass over few rows costs what it reads: each weight once, each key and value once. torch ships Triton with its CUDA
builds; where it cannot compile, `work_on` says so and torch's own are used.

Triton launches on the current device: callers make that of the tensors the current one (`capture.on_device`).
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

MOST_ROWS = 64
"""Of a product; more are torch's."""
_BLOCKS = 264
"""Programs that keep a large GPU busy."""
_MOST_SPLITS = 64


@triton.jit
def _one_row(x, weight, bias, out, N, K, HAS_BIAS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    rows = weight + n[:, None].to(tl.int64) * K + k[None, :]
    sums = tl.zeros((BN, BK), dtype=tl.float32)
    for start in range(0, K, BK):
        inside = k + start < K
        given = tl.load(x + start + k, mask=inside, other=0.0).to(tl.float32)
        read = tl.load(rows + start, mask=(n < N)[:, None] & inside[None, :], other=0.0).to(tl.float32)
        sums += read * given[None, :]
    total = tl.sum(sums, 1)
    if HAS_BIAS:
        total += tl.load(bias + n, mask=n < N, other=0.0).to(tl.float32)
    tl.store(out + n, total.to(out.dtype.element_ty), mask=n < N)


@triton.jit
def _few_rows(
    x, weight, bias, out, M, N, K, HAS_BIAS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr
):
    m, n, k = tl.arange(0, BM), tl.program_id(0) * BN + tl.arange(0, BN), tl.arange(0, BK)
    given = x + m[:, None] * K + k[None, :]
    columns = weight + n[None, :].to(tl.int64) * K + k[:, None]
    sums = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(0, K, BK):
        inside = k + start < K
        a = tl.load(given + start, mask=(m < M)[:, None] & inside[None, :], other=0.0)
        b = tl.load(columns + start, mask=(n < N)[None, :] & inside[:, None], other=0.0)
        sums = tl.dot(a, b, sums, input_precision="ieee")
    if HAS_BIAS:
        sums += tl.load(bias + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
    inside = (m < M)[:, None] & (n < N)[None, :]
    tl.store(out + m[:, None] * N + n[None, :], sums.to(out.dtype.element_ty), mask=inside)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of x [..., in] with weight [out, in], whose rows lie one after another."""
    flat = x.reshape(-1, x.shape[-1]).contiguous()
    (count, width), outs = flat.shape, len(weight)
    if count > MOST_ROWS or not count:
        return F.linear(x, weight, bias)
    out = torch.empty(count, outs, dtype=x.dtype, device=x.device)
    added, is_wide = weight if bias is None else bias, x.element_size() > 2
    if count == 1:
        block, span = (4, 512) if width < 4096 else (2, 2048)
        grid = (triton.cdiv(outs, block),)
        _one_row[grid](
            flat, weight, added, out, outs, width, bias is not None, block, span, num_warps=4 if span > 512 else 2
        )
        return out.view(*x.shape[:-1], outs)
    rows = max(16, triton.next_power_of_2(count))
    # At most 80 KB of shared memory, which GPUs for desktops have too.
    block, span, warps, stages = {16: (16, 256, 2, 4), 32: (32, 128, 4, 4)}.get(rows, (32, 128, 4, 3))
    span = span // 2 if is_wide else span
    _few_rows[(triton.cdiv(outs, block),)](
        *(flat, weight, added, out, count, outs, width, bias is not None, rows, block, span),
        num_warps=warps,
        num_stages=stages,
    )
    return out.view(*x.shape[:-1], outs)


@triton.jit
def _attend_split(
    query, keys, values, mask, bounds, sums, stats, scale, rows, shared, width, value_width,
    q_head, q_row, k_head, v_head, mask_row, NUM_SPLITS: tl.constexpr,
    BR: tl.constexpr, BC: tl.constexpr, DK: tl.constexpr, DV: tl.constexpr,
):  # fmt: skip
    head, split, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    low, high = tl.load(bounds), tl.load(bounds + 1)
    share = tl.cdiv(tl.cdiv(high - low, NUM_SPLITS), BC) * BC
    start = low + split * share
    stop = tl.minimum(start + share, high)
    r = block * BR + tl.arange(0, BR)
    group, row, is_row = r // rows, r % rows, r < rows * shared
    dk, dv, c = tl.arange(0, DK), tl.arange(0, DV), tl.arange(0, BC)
    places = query + (head * shared + group)[:, None] * q_head + row[:, None] * q_row + dk[None, :]
    asked = tl.load(places, mask=is_row[:, None] & (dk < width)[None, :], other=0.0)
    most = tl.full((BR,), -float("inf"), dtype=tl.float32)
    weight = tl.zeros((BR,), dtype=tl.float32)
    mixed = tl.zeros((BR, DV), dtype=tl.float32)
    for first in range(start, stop, BC):
        column = first + c
        inside = column < stop
        key = tl.load(
            keys + head * k_head + column[None, :] * width + dk[:, None],
            mask=inside[None, :] & (dk < width)[:, None],
            other=0.0,
        )
        hidden = tl.load(
            mask + row[:, None] * mask_row + column[None, :],
            mask=inside[None, :] & is_row[:, None],
            other=-float("inf"),
        )
        scores = tl.dot(asked, key, input_precision="ieee") * scale + hidden.to(tl.float32)
        newest = tl.maximum(most, tl.max(scores, 1))
        known = tl.where(newest == -float("inf"), 0.0, newest)
        shares, kept = tl.exp(scores - known[:, None]), tl.exp(most - known)
        value = tl.load(
            values + head * v_head + column[:, None] * value_width + dv[None, :],
            mask=inside[:, None] & (dv < value_width)[None, :],
            other=0.0,
        )
        weight = weight * kept + tl.sum(shares, 1)
        mixed = mixed * kept[:, None] + tl.dot(shares.to(value.dtype), value, input_precision="ieee")
        most = newest
    place = ((head * NUM_SPLITS + split) * rows * shared + r).to(tl.int64)
    tl.store(stats + 2 * place, most, mask=is_row)
    tl.store(stats + 2 * place + 1, weight, mask=is_row)
    inside = is_row[:, None] & (dv < value_width)[None, :]
    tl.store(sums + place[:, None] * value_width + dv[None, :], mixed, mask=inside)


@triton.jit
def _attend_join(sums, stats, out, rows, shared, value_width, NUM_SPLITS: tl.constexpr, DV: tl.constexpr):
    head, r = tl.program_id(0), tl.program_id(1)
    group, row = r // rows, r % rows
    split, dv = tl.arange(0, NUM_SPLITS), tl.arange(0, DV)
    places = ((head * NUM_SPLITS + split) * rows * shared + r).to(tl.int64)
    most, weight = tl.load(stats + 2 * places), tl.load(stats + 2 * places + 1)
    scale = tl.exp(most - tl.max(most, 0))
    inside = (dv < value_width)[None, :] & (split < NUM_SPLITS)[:, None]
    mixed = tl.load(sums + places[:, None] * value_width + dv[None, :], mask=inside, other=0.0)
    total = tl.sum(mixed * scale[:, None], 0) / tl.sum(weight * scale, 0)
    num_heads = tl.num_programs(0) * shared
    place = (row * num_heads + head * shared + group) * value_width + dv
    tl.store(out + place, total.to(out.dtype.element_ty), mask=dv < value_width)


def attention(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, bounds: Tensor, scale: float) -> Tensor:
    """[rows, heads, width] of query [heads, rows, width] over keys and values [kv heads, columns, width].

    `mask` [rows, columns] is added to the scores. Columns before `bounds[0]` and from `bounds[1]` on are not read: the
    pass costs what is there, however many columns the buffers have."""
    heads, rows, width = query.shape
    kv_heads, value_width = len(keys), values.shape[2]
    shared = heads // kv_heads
    block = min(64, max(16, triton.next_power_of_2(rows * shared)))
    num_blocks = triton.cdiv(rows * shared, block)
    splits = min(_MOST_SPLITS, triton.next_power_of_2(triton.cdiv(_BLOCKS, kv_heads * num_blocks)))
    sums = torch.empty(kv_heads, splits, rows * shared, value_width, dtype=torch.float32, device=query.device)
    stats = torch.empty(kv_heads, splits, rows * shared, 2, dtype=torch.float32, device=query.device)
    out = torch.empty(rows, heads, value_width, dtype=query.dtype, device=query.device)
    wide, deep = (max(16, triton.next_power_of_2(size)) for size in (width, value_width))
    is_large = max(wide, deep) * query.element_size() > 256
    _attend_split[(kv_heads, splits, num_blocks)](
        *(query, keys, values, mask, bounds, sums, stats, scale, rows, shared, width, value_width),
        *(query.stride(0), query.stride(1), keys.stride(0), values.stride(0), mask.stride(0)),
        *(splits, block, 32 if is_large else 64, wide, deep),
        num_warps=4,
        num_stages=2,
    )
    _attend_join[(kv_heads, rows * shared)](sums, stats, out, rows, shared, value_width, splits, deep)
    return out


@triton.jit
def _rotate(
    query, key, cosines, sines, new_query, new_key, heads, rows, width, q_head, q_row, k_head, k_row, D: tl.constexpr
):
    row, head = tl.program_id(0), tl.program_id(1)
    d, half = tl.arange(0, D), width // 2
    inside = d < width
    cosine = tl.load(cosines + row * width + d, mask=inside).to(tl.float32)
    sine = tl.load(sines + row * width + d, mask=inside).to(tl.float32)
    is_query = head < heads
    own = tl.where(is_query, head, head - heads)
    if is_query:
        start = query + own * q_head + row * q_row
        target = new_query + (own * rows + row) * width
    else:
        start = key + own * k_head + row * k_row
        target = new_key + (own * rows + row) * width
    given = tl.load(start + d, mask=inside).to(tl.float32)
    turned = tl.load(start + tl.where(d < half, d + half, d - half), mask=inside).to(tl.float32)
    found = given * cosine + tl.where(d < half, -turned, turned) * sine
    tl.store(target + d, found.to(target.dtype.element_ty), mask=inside)


def rotated(query: Tensor, key: Tensor, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor]:
    """Rotary positions: query and key [1, heads, rows, width], cosines and sines [1, rows, width]."""
    _, heads, rows, width = query.shape
    turned, turned_key = (torch.empty(one.shape, dtype=one.dtype, device=one.device) for one in (query, key))
    _rotate[(rows, heads + key.shape[1])](
        *(query, key, cosines.contiguous(), sines.contiguous(), turned, turned_key, heads, rows, width),
        *(query.stride(1), query.stride(2), key.stride(1), key.stride(2), triton.next_power_of_2(width)),
        num_warps=1,
    )
    return turned, turned_key


@triton.jit
def _norm(x, weight, out, width, eps, OFFSET: tl.constexpr, D: tl.constexpr):
    row, d = tl.program_id(0), tl.arange(0, D)
    inside = d < width
    found = tl.load(x + row * width + d, mask=inside, other=0.0).to(tl.float32)
    found *= tl.rsqrt(tl.sum(found * found, 0) / width + eps)
    scale = tl.load(weight + d, mask=inside, other=0.0).to(tl.float32) + OFFSET
    tl.store(out + row * width + d, (found * scale).to(out.dtype.element_ty), mask=inside)


def rms_norm(x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
    """Root mean square norm over the last side, times `weight` + `offset`, which is 1 in Gemma."""
    flat = x.reshape(-1, len(weight)).contiguous()
    out = torch.empty_like(flat)
    size = triton.next_power_of_2(len(weight))
    _norm[(len(flat),)](flat, weight, out, len(weight), eps, offset, size, num_warps=4 if size < 4096 else 8)
    return out.view(x.shape)


@triton.jit
def _put(new, buffer, columns, width, n_head, n_row, b_head, D: tl.constexpr):
    row, head = tl.program_id(0), tl.program_id(1)
    d = tl.arange(0, D)
    found = tl.load(new + head * n_head + row * n_row + d, mask=d < width)
    found = tl.where(tl.abs(found.to(tl.float32)) < float("inf"), found, 0.0)  # also what is no number
    place = tl.load(columns + row)
    tl.store(buffer + head * b_head + place * width + d, found, mask=d < width)


def put(new: Tensor, buffer: Tensor, columns: Tensor) -> None:
    """Writes new [heads, rows, width] to `columns` [rows] of buffer [heads, columns, width]; what is infinite, or no
    number, as 0."""
    heads, rows, width = new.shape
    sides = (new.stride(0), new.stride(1), buffer.stride(0), triton.next_power_of_2(width))
    _put[(rows, heads)](new, buffer, columns, width, *sides, num_warps=1)


@cache
def work_on(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether kernels compile here and say what torch says."""
    made = torch.Generator(device).manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=made, device=device, dtype=torch.float32).to(dtype)

    try:
        weight, one, three = drawn(48, 80), drawn(1, 80), drawn(3, 80)
        query, keys, values, mask = drawn(2, 3, 16), drawn(2, 40, 16), drawn(2, 40, 16), drawn(3, 40)
        states, cosines, sines, scale = drawn(1, 2, 3, 16), drawn(1, 3, 16), drawn(1, 3, 16), drawn(80)
        turned = torch.cat([-states[..., 8:], states[..., :8]], -1)
        written, columns = torch.zeros_like(keys), torch.tensor([5, 30, 2], device=device)
        put(query, written, columns)
        pairs = [
            (product(one, weight), F.linear(one, weight)),
            (product(three, weight), F.linear(three, weight)),
            (
                attention(query, keys, values, mask, torch.tensor([0, 40], device=device), 0.25),
                F.scaled_dot_product_attention(query, keys, values, mask, scale=0.25).transpose(0, 1),
            ),
            (rotated(states, states, cosines, sines)[0], states * cosines + turned * sines),
            (rms_norm(three, scale, 1e-6), F.rms_norm(three, (80,), scale, 1e-6)),
            (written[:, columns], query),
        ]
        return all(is_near(found, expected) for found, expected in pairs)
    except Exception:  # noqa: BLE001 - no compiler, another Triton, another GPU: torch's own do it all
        return False


def is_near(found: Tensor, expected: Tensor) -> bool:
    """Up to what half precision rounds."""
    return bool((found - expected).float().norm() <= 0.02 * expected.float().norm())


def runs_on(tensor: Tensor) -> bool:
    """Kernels read a GPU's memory; the interpreter of Triton, for tests, also the host's."""
    return tensor.is_cuda or bool(triton.knobs.runtime.interpret)
