// What is kept of a batch's packets between the stages of index.ts, in the worker's state, 32 bytes each.
//
//    0       4       8          16       24     28        32
//   +-------+-------+----------+--------+------+---------+         line: address of the one, or UNTOUCHED or SLOW; then
//   | line  | hash  | addresses| ports, | near | foreseen|         tuple: address of the one that it may be
//   |       |       |          | kind   |      |         |         near, foreseen: approach.ts
//   +-------+-------+-----+----+--------+------+---------+
//    0               8     12   16       20               found: TRANSLATED_OUT or TRANSLATED_IN
//   +---------------+-----+----+--------+-----
//   | found         | new address, port, |
//   |               | changes (rewrite.ts)
//   +---------------+-----+----+--------+-----

export const LINE: usize = 0;
export const TUPLE: usize = 0;
export const HASH: usize = 4;
export const ADDRESSES: usize = 8;
/** 0: nothing was kept of it. */
export const PORTS: usize = 16;
export const NEAR: usize = 24;
/** A port, or -1. */
export const FORESEEN: usize = 28;
// Once the session has been found, in the place of these.
export const ADDRESS: usize = 8;
export const PORT: usize = 12;
export const CHANGES: usize = 16;
export const KEPT: usize = 32;

// In the place of the tuple's address. From 2 on: what is kept goes into the packet, and from 4 on it is not remembered.
export const SLOW: u32 = 0;
export const UNTOUCHED: u32 = 1;
export const TRANSLATED_OUT: u32 = 2;
export const TRANSLATED_IN: u32 = 3;
export const ONCE: u32 = 2;
