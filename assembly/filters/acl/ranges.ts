// Lists of ranges: sorted, joined where they touch, and with others taken out of them. Used while rules are compiled.
//
//   a range of width w: first (w bytes), last (w bytes), in host order; w is 2, 4, or 16 (high half, low half)

/** Sorts and joins `count` ranges in place. @returns how many are left */
export function normalize(at: usize, count: u32, width: u32): u32 {
  if (count < 2) return count;
  sort(at, count, width);
  const size = (<usize>width) << 1;
  let kept = at;
  for (let i: u32 = 1; i < count; i++) {
    const next = at + <usize>i * size;
    if (!isBeyond(next, kept + width, width)) {
      if (compare(next + width, kept + width, width) > 0) memory.copy(kept + width, next + width, width);
      continue;
    }
    kept += size;
    memory.copy(kept, next, size);
  }
  return <u32>((kept - at) / size) + 1;
}

/**
 * Writes to `to` what is in `count` ranges at `from` and not in `less` ranges at `minus`; both normal.
 * At most count + less ranges. @returns how many
 */
export function subtract(to: usize, from: usize, count: u32, minus: usize, less: u32, width: u32): u32 {
  const size = (<usize>width) << 1;
  const start = to;
  for (let i: u32 = 0; i < count; i++, from += size) {
    // What is left of this range stands at `to`, and is cut from its beginning on.
    memory.copy(to, from, size);
    let isEmpty = false;
    for (let j: u32 = 0; j < less && !isEmpty; j++) {
      const hole = minus + <usize>j * size;
      if (compare(hole + width, to, width) < 0) continue;
      if (compare(hole, to + width, width) > 0) break;
      const reaches = compare(hole + width, to + width, width) >= 0;
      if (compare(hole, to, width) > 0) {
        // A part before the hole is finished; the part behind it goes on.
        memory.copy(to + size, to, size);
        memory.copy(to + width, hole, width);
        decrement(to + width, width);
        to += size;
      }
      if (reaches) isEmpty = true;
      else {
        memory.copy(to, hole + width, width);
        increment(to, width);
      }
    }
    if (!isEmpty) to += size;
  }
  return <u32>((to - start) / size);
}

/** The range of all values. */
export function fillAll(at: usize, width: u32): void {
  memory.fill(at, 0, width);
  memory.fill(at + width, 0xff, width);
}

function compare(a: usize, b: usize, width: u32): i32 {
  if (width == 2) return order(<u64>load<u16>(a), <u64>load<u16>(b));
  if (width == 4) return order(<u64>load<u32>(a), <u64>load<u32>(b));
  const high = order(load<u64>(a), load<u64>(b));
  return high != 0 ? high : order(load<u64>(a, 8), load<u64>(b, 8));
}

function order(a: u64, b: u64): i32 {
  return a < b ? -1 : <i32>(a > b);
}

/** Is there a gap between the value `last` and the value `first`? */
function isBeyond(first: usize, last: usize, width: u32): bool {
  if (compare(first, last, width) <= 0) return false;
  if (width == 2) return <u32>load<u16>(first) - <u32>load<u16>(last) > 1;
  if (width == 4) return load<u32>(first) - load<u32>(last) > 1;
  const low = load<u64>(first, 8) - load<u64>(last, 8);
  const borrow = <u64>(load<u64>(first, 8) < load<u64>(last, 8));
  return load<u64>(first) - load<u64>(last) - borrow != 0 || low > 1;
}

function increment(at: usize, width: u32): void {
  if (width == 2) store<u16>(at, load<u16>(at) + 1);
  else if (width == 4) store<u32>(at, load<u32>(at) + 1);
  else {
    const low = load<u64>(at, 8) + 1;
    store<u64>(at, low, 8);
    if (low == 0) store<u64>(at, load<u64>(at) + 1);
  }
}

function decrement(at: usize, width: u32): void {
  if (width == 2) store<u16>(at, load<u16>(at) - 1);
  else if (width == 4) store<u32>(at, load<u32>(at) - 1);
  else {
    const low = load<u64>(at, 8);
    store<u64>(at, low - 1, 8);
    if (low == 0) store<u64>(at, load<u64>(at) - 1);
  }
}

/** Heapsort (Williams 1964) by the ranges' first values: in place, never quadratic. */
function sort(at: usize, count: u32, width: u32): void {
  const size = (<usize>width) << 1;
  for (let i = count >> 1; i > 0; i--) sift(at, i - 1, count, width, size);
  for (let end = count - 1; end > 0; end--) {
    swap(at, at + <usize>end * size, size);
    sift(at, 0, end, width, size);
  }
}

function sift(at: usize, root: u32, end: u32, width: u32, size: usize): void {
  for (;;) {
    let child: u32 = 2 * root + 1;
    if (child >= end) return;
    if (child + 1 < end && compare(at + <usize>child * size, at + <usize>(child + 1) * size, width) < 0)
      child++;
    if (compare(at + <usize>root * size, at + <usize>child * size, width) >= 0) return;
    swap(at + <usize>root * size, at + <usize>child * size, size);
    root = child;
  }
}

function swap(a: usize, b: usize, size: usize): void {
  for (let i: usize = 0; i < size; i += 4) {
    const word = load<u32>(a + i);
    store<u32>(a + i, load<u32>(b + i));
    store<u32>(b + i, word);
  }
}
