/**
 * Byte layouts of what lies in the pipeline's shared memory. The twin of assembly/abi/layout.ts:
 * test/batches/layout.test.ts compares the two. All integers are little-endian, addresses are u32.
 *
 * Descriptor: one packet, one 64-byte cache line.
 *
 *    0        4        8    10   12      14       15      16      20        24     25    26     28
 *   +--------+--------+----+----+-------+--------+-------+-------+---------+------+-----+------+------+
 *   | data   | length | l3 | l4 |payload|protocol|output | flags |    -    |device|queue|error | mark |
 *   +--------+--------+----+----+-------+--------+-------+-------+---------+------+-----+------+------+
 *    32                                                    44          48          56     60
 *   +-----------------------------------------------------+-----------+-----------+------+----------+
 *   | vnet_hdr: flags gsoType hdrLen gsoSize csumStart    | datagrams | timestamp | slot | capacity |
 *   |           csumOffset numBuffers                     |           |           |      |          |
 *   +-----------------------------------------------------+-----------+-----------+------+----------+
 */
export const DESCRIPTOR = {
  /** Address of the packet's first byte: the Ethernet header (layer 2) or the IP header (layer 3). */
  DATA: 0,
  /** Bytes from DATA. */
  LENGTH: 4,
  /** Offset from DATA of the IP header (u16). */
  L3: 8,
  /** Offset from DATA of the transport header, 0: there is none (u16). */
  L4: 10,
  /**
   * Offset from DATA of what follows the last header that was proved: the data, or the upper layer where its protocol
   * is not known here; 0: there is none (u16).
   */
  PAYLOAD: 12,
  /** IP protocol number of the upper layer, after IPv6 extension headers (u8). */
  PROTOCOL: 14,
  /** The output that the last filter chose: 0 next, 1 drop, then by name (u8). */
  OUTPUT: 15,
  /** PACKET_FLAG bits (u32). */
  FLAGS: 16,
  /** Not in use (u32). */
  RESERVED: 20,
  /** Index of the device it came from (u8). */
  DEVICE: 24,
  /** Queue of that device (u8). */
  QUEUE: 25,
  /** Index in MALFORMED of why FLAGS has MALFORMED (u16). */
  ERROR: 26,
  MARK: 28,
  /** struct virtio_net_hdr_v1, 12 bytes. */
  VNET_FLAGS: 32,
  VNET_GSO_TYPE: 33,
  VNET_HDR_LEN: 34,
  VNET_GSO_SIZE: 36,
  VNET_CSUM_START: 38,
  VNET_CSUM_OFFSET: 40,
  VNET_NUM_BUFFERS: 42,
  /** Datagrams this packet is on the wire: 1 unless a GSO super-packet (u32). */
  DATAGRAMS: 44,
  /** When it was received, ns (u64); CLOCK_MONOTONIC for devices, the record's own time for a capture. */
  TIMESTAMP: 48,
  /** Address of its slot: headroom, packet, tailroom. Never changes. */
  SLOT: 56,
  /** Bytes of the slot. Never changes. */
  CAPACITY: 60,
  SIZE: 64,
} as const;

export const PACKET_FLAG = {
  IPV4: 1 << 0,
  IPV6: 1 << 1,
  /** A fragment; with FIRST_FRAGMENT the one that has the transport header. */
  FRAGMENT: 1 << 2,
  FIRST_FRAGMENT: 1 << 3,
  /** IPv4 options or IPv6 extension headers are present. */
  OPTIONS: 1 << 4,
  /** Lengths or versions contradict the bytes; ERROR says how. L3, L4 hold only what was proved. */
  MALFORMED: 1 << 5,
  /** The transport checksum holds only the pseudo-header's sum (VIRTIO_NET_HDR_F_NEEDS_CSUM). */
  CSUM_PARTIAL: 1 << 6,
  /** The kernel vouches for the checksum (VIRTIO_NET_HDR_F_DATA_VALID). */
  CSUM_VALID: 1 << 7,
  /** Not an IP packet at all (ARP, LLDP, ... on layer 2). */
  NOT_IP: 1 << 8,
  /** The Ethernet frame has at least one VLAN tag. */
  VLAN: 1 << 9,
  BROADCAST: 1 << 10,
  MULTICAST: 1 << 11,
} as const;

/** Why a packet is malformed, by the index in ERROR. The report counts by these names. */
export const MALFORMED = [
  "none",
  "truncated-ethernet",
  "bad-version",
  "truncated-ipv4",
  "bad-ipv4-header-length",
  "bad-ipv4-total-length",
  "truncated-ipv6",
  "bad-ipv6-payload-length",
  "truncated-extension-header",
  "too-many-extension-headers",
  "bad-fragment",
  "truncated-tcp",
  "bad-tcp-data-offset",
  "truncated-udp",
  "bad-udp-length",
  "truncated-icmp",
] as const;

/** Batch: a vector of descriptor addresses. Also the free list, used as a stack. */
export const BATCH = {
  COUNT: 0,
  CAPACITY: 4,
  /** First entry (u32 each); bytes 8 to 15 are reserved. */
  ENTRIES: 16,
} as const;

/** Context: what one filter instance on one worker knows beside its packets. 192 bytes, three cache lines. */
export const CONTEXT = {
  WORKER: 0,
  WORKERS: 4,
  /** CLOCK_MONOTONIC ns at the start of this batch (u64), the same clock on every worker. */
  NOW: 8,
  /** ns since the epoch at the start of this batch (u64). */
  WALL_CLOCK: 16,
  /** State of the instance's random generator (u64), seeded by the host, never 0. */
  RANDOM: 24,
  PARAMS: 32,
  WORKER_STATE: 36,
  WORKER_STATE_BYTES: 40,
  SHARED_STATE: 44,
  SHARED_STATE_BYTES: 48,
  /** This worker's counters of this filter: u64 each, numbered as in FilterConfig.counters. */
  COUNTERS: 52,
  /** How many outputs the filter has, next and drop included. */
  OUTPUTS: 56,
  /** Packets by output, u64 each; core's partition counts. */
  OUTPUT_COUNTERS: 60,
  /** Batch address by output where an output leads on the step at hand (u32 each); [0] is 0: next stays. */
  OUTPUT_BATCHES: 64,
  /** The worker's free descriptors, a batch used as a stack. */
  FREE: 68,
  /** DeviceInfo table (DEVICE_INFO.SIZE bytes each), indexed by DESCRIPTOR.DEVICE. */
  DEVICES: 72,
  /** How many devices there are in that table. */
  DEVICE_COUNT: 76,
  /** Packets whose output the filter does not have (u64); core's partition counts and drops them. */
  BAD_OUTPUTS: 80,
  /** When the filter wants its wake() called, CLOCK_MONOTONIC ns (u64); 0: never. */
  DUE: 88,
  /** Batch of packets that the filter emits; core's emit empties it. 0: it may not hold any. */
  EMITTED: 96,
  /**
   * Who holds the worker's descriptors, u32 each in their order: HOLDER of the filter's context in the upper half, the output
   * by which it is emitted (u8), the number of the step at which it goes on (u8); 0: no filter does. Bit 31: it has been
   * emitted, and is in EMITTED.
   */
  HOLDERS: 100,
  /** Address of the worker's first descriptor. */
  DESCRIPTORS: 104,
  /** The filter in HOLDERS: its index + 1, in the upper half. */
  HOLDER: 108,
  /** Number of the step at hand among those that use the filter. */
  STEP: 112,
  /** By that number: addresses of tables as at OUTPUT_BATCHES, but [0] leads on along the path (u32 each). */
  STEP_TABLES: 116,
  /** Most packets that the filter may hold at a time, fresh ones that it has not emitted yet included. */
  HOLD_LIMIT: 120,
  /** How many it holds. */
  HELD: 124,
  /** Packets that it has made out of nothing (u64). */
  FRESH: 128,
  /** What is made of the parameters alone, and read only: the workers take over another when the pipeline is reloaded. */
  PREPARED_STATE: 136,
  /** Ring of what the filter says: LOG in log.ts; 0: its manifest has no messages. */
  LOG: 140,
  /** Where the filter keeps the tables that the report shows, u32 each in the order of its manifest, four at most: TABLE in table.ts; 0: none. */
  TABLES: 144,
  /** How many locks in the shared state it holds. */
  LOCKS: 160,
  /** The first seven of them (u32 each): the address of the word; bit 0: the lock is bit 31 of it, otherwise all of it. */
  LOCK_ENTRIES: 164,
  SIZE: 192,
} as const;

/** What the host needs beside an isolated filter's memory: room to copy with, and counters of dissect that nobody reads. */
export const ISOLATED_SCRATCH = {
  COPY: 0,
  RX: 64,
  MALFORMED: 128,
  BYTES: 128 + 8 * MALFORMED.length,
} as const;

/** What filters may know of a device. */
export const DEVICE_INFO = {
  MTU: 0,
  /** 2 or 3. */
  LAYER: 4,
  /** OFFLOAD bits: what a packet that leaves by the device may leave undone. A refused write clears them. */
  OFFLOADS: 8,
  /** Bytes of the struct virtio_net_hdr before each packet read or written; 0: there is none. */
  VNET_HEADER: 12,
  SIZE: 16,
} as const;

/** What a device can do for us: the bits of TUNSETOFFLOAD, TUN_F_ in <linux/if_tun.h>. */
export const OFFLOAD = {
  /** Completes a transport checksum that holds the pseudo-header's sum only. */
  CSUM: 1 << 0,
  TSO4: 1 << 1,
  TSO6: 1 << 2,
  /** TCP super-packets whose first segment has CWR. */
  TSO_ECN: 1 << 3,
  USO4: 1 << 5,
  USO6: 1 << 6,
} as const;
export const ALL_OFFLOADS = Object.values(OFFLOAD).reduce((all, bit) => all | bit);

/** Bytes free before the packet in a slot, for headers that filters push. */
export const HEADROOM = 128;
/** Bytes of struct virtio_net_hdr_v1, which a device with offloads reads and writes right before each packet. */
export const VNET_HEADER = 12;
/** Most packets a filter or an engine sees in one batch. */
export const BATCH_PACKETS = 64;
export const OUTPUT_NEXT = 0;
export const OUTPUT_DROP = 1;
/** DESCRIPTOR.OUTPUT of a packet that the filter keeps, after hold() has said that it may. */
export const OUTPUT_HOLD = 254;
/** DESCRIPTOR.OUTPUT of a packet to which batch() has not given an output yet. */
export const OUTPUT_NONE = 255;
/**
 * DESCRIPTOR.OUTPUT of a packet that the device refused as a super-packet or with an unfinished checksum: it leaves in
 * finished packets.
 */
export const OUTPUT_FINISH = 255;
/** Entries of the table in which core's coalesce keeps the flows of a batch, u32 each. A power of two. */
export const COALESCE_FLOWS = 64;
export const ABI_VERSION = 1;
