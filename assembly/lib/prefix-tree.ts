// Longest prefix match: a binary tree over addresses of 128 bits, IPv4 as ::ffff:a.b.c.d, in which nodes that branch nowhere
// are left out (Morrison 1968, PATRICIA). A lookup visits at most as many nodes as prefixes cover the address, plus those that
// branch between them. Filled in init() or initShared(), then only read: any number of workers may.
//
//    0       4        8     64
//   +-------+--------+-----+---------------+
//   | root  | nodes  | cap.| nodes         |     links are index + 1, 0: none
//   +-------+--------+-----+---------------+
//    node
//    0       8      16       20      24       28      32
//   +-------+------+--------+-------+--------+--------+
//   | high  | low  | length | value | zero   | one    |     zero, one: by the bit after the prefix
//   +-------+------+--------+-------+--------+--------+
//
// Example: prefixes from a list parameter, by their index.
//
//   export function sharedStateSize(at: usize): usize { return PrefixTree.bytes(params.blocked.length); }
//   export function initShared(): void {
//     const tree = PrefixTree.format(sharedState(), params.blocked.length);
//     for (let i = 0; i < params.blocked.length; i++) {
//       const prefix = params.blocked.at(i);
//       tree.add(be64(prefix.address), be64(prefix.address + 8), prefix.length, i);
//     }
//   }
//   ...
//   if (p.isIpv4 && PrefixTree.at(sharedState()).findIpv4(Ipv4.of(p).source) != NO_PREFIX) return OUTPUT_DROP;

const HEADER: usize = 64;
const NODE: usize = 32;
const LENGTH: usize = 16;
const VALUE: usize = 20;
const CHILDREN: usize = 24;
/** The upper half of the lower 64 bits of ::ffff:0:0/96 (RFC 4291, 2.5.5.2). */
const MAPPED: u64 = 0x0000ffff00000000;

/** What find() gives when no prefix covers an address; so it is no value. */
export const NO_PREFIX: u32 = 0xffffffff;

@unmanaged
export class PrefixTree {
  private root: u32;
  private nodes: u32;
  private capacity: u32;

  /**
   * Bytes of state for a tree: each prefix may need a node to branch at. Never fails.
   * @param prefixes how many at most
   */
  static bytes(prefixes: u32): usize {
    return HEADER + <usize>prefixes * 2 * NODE;
  }

  /**
   * A tree that was formatted: not checked.
   * @param address of its memory
   */
  @inline static at(address: usize): PrefixTree {
    return changetype<PrefixTree>(address);
  }

  /**
   * Makes an empty tree. Needs zeroed memory of bytes(prefixes) bytes.
   * @param address of the memory, a multiple of 8
   * @param prefixes how many at most
   */
  static format(address: usize, prefixes: u32): PrefixTree {
    const tree = changetype<PrefixTree>(address);
    tree.root = 0;
    tree.nodes = 0;
    tree.capacity = prefixes * 2;
    return tree;
  }

  /**
   * Adds a prefix; one that is there already gets the new value.
   * @param high upper 64 bits of the address, host order (be64); @param low the lower; bits behind the prefix do not count
   * @param length 0 to 128 bits (of IPv4 96 more, as parameters have it); @param value any but NO_PREFIX
   * @returns false: there is no room left
   */
  add(high: u64, low: u64, length: u32, value: u32): bool {
    high &= maskHigh(length);
    low &= maskLow(length);
    let link = changetype<usize>(this);
    for (;;) {
      const index = load<u32>(link);
      if (index == 0) {
        const leaf = this.make(high, low, length, value);
        if (leaf != 0) store<u32>(link, leaf);
        return leaf != 0;
      }
      const node = this.node(index);
      const ownLength = load<u32>(node, LENGTH);
      const shared = min<u32>(
        common(high, low, load<u64>(node), load<u64>(node, 8)),
        min<u32>(length, ownLength),
      );
      if (shared == ownLength) {
        if (ownLength == length) {
          store<u32>(node, value, VALUE);
          return true;
        }
        link = node + CHILDREN + ((<usize>bit(high, low, ownLength)) << 2);
        continue;
      }
      // They part before the node's prefix ends: a new node stands where they do.
      if (this.nodes + 2 > this.capacity) return false;
      const branch = this.make(high & maskHigh(shared), low & maskLow(shared), shared, NO_PREFIX);
      const at = this.node(branch);
      store<u32>(at + CHILDREN + ((<usize>bit(load<u64>(node), load<u64>(node, 8), shared)) << 2), index);
      store<u32>(link, branch);
      if (shared == length) store<u32>(at, value, VALUE);
      else
        store<u32>(
          at + CHILDREN + ((<usize>bit(high, low, shared)) << 2),
          this.make(high, low, length, value),
        );
      return true;
    }
  }

  /**
   * The value of the longest prefix that covers an address.
   * @param high upper 64 bits, in host order
   * @param low lower 64 bits
   * @returns NO_PREFIX: none does
   * @example
   *   const tree = PrefixTree.at(sharedState());
   *   if (p.isIpv6 && tree.find(Ipv6.of(p).sourceHigh, Ipv6.of(p).sourceLow) == NO_PREFIX) return OUTPUT_DROP;
   */
  find(high: u64, low: u64): u32 {
    let best = NO_PREFIX;
    let index = this.root;
    while (index != 0) {
      const node = this.node(index);
      const length = load<u32>(node, LENGTH);
      if ((high & maskHigh(length)) != load<u64>(node) || (low & maskLow(length)) != load<u64>(node, 8))
        break;
      const value = load<u32>(node, VALUE);
      if (value != NO_PREFIX) best = value;
      if (length == 128) break;
      index = load<u32>(node + CHILDREN + ((<usize>bit(high, low, length)) << 2));
    }
    return best;
  }

  /**
   * find() for an IPv4 address.
   * @param address as a number, as Ipv4.source gives it
   * @returns NO_PREFIX: none does
   */
  @inline findIpv4(address: u32): u32 {
    return this.find(0, MAPPED | <u64>address);
  }

  @inline private node(index: u32): usize {
    return changetype<usize>(this) + HEADER + <usize>(index - 1) * NODE;
  }

  /** @returns the link to a new node; 0: there is no room */
  private make(high: u64, low: u64, length: u32, value: u32): u32 {
    if (this.nodes == this.capacity) return 0;
    const index = ++this.nodes;
    const node = this.node(index);
    store<u64>(node, high);
    store<u64>(node, low, 8);
    store<u32>(node, length, LENGTH);
    store<u32>(node, value, VALUE);
    store<u64>(node, 0, CHILDREN);
    return index;
  }
}

function maskHigh(length: u32): u64 {
  return length >= 64 ? ~(<u64>0) : length == 0 ? 0 : ~(<u64>0) << (64 - length);
}

function maskLow(length: u32): u64 {
  return length <= 64 ? 0 : ~(<u64>0) << (128 - length);
}

/** The bit at an offset from the left, below 128. */
function bit(high: u64, low: u64, offset: u32): u32 {
  return offset < 64 ? <u32>(high >> (63 - offset)) & 1 : <u32>(low >> (127 - offset)) & 1;
}

/** How many bits from the left two addresses share. */
function common(high: u64, low: u64, otherHigh: u64, otherLow: u64): u32 {
  const upper = high ^ otherHigh;
  if (upper != 0) return <u32>clz<u64>(upper);
  const lower = low ^ otherLow;
  return lower == 0 ? 128 : 64 + <u32>clz<u64>(lower);
}
