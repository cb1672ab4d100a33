/**
 * The two capture formats, drawn once. Byte order is the writer's; the magic tells which.
 *
 * pcap (draft-ietf-opsawg-pcap): a header, then records.
 *    0       4       6       8      12      16        20          24
 *   +-------+-------+-------+-------+-------+---------+-----------+
 *   | magic | major | minor |  0    |  0    | snaplen | link type |
 *   +-------+-------+-------+-------+-------+---------+-----------+
 *    0         4                8          12       16
 *   +---------+----------------+----------+--------+-------------------------+
 *   | seconds | micro- or nano | captured | length | captured bytes, unpadded|
 *   +---------+----------------+----------+--------+-------------------------+
 *
 * pcapng (draft-ietf-opsawg-pcapng): blocks, multiples of 4 bytes, their length before and after the body.
 *    0      4        8                      length - 4   length
 *   +------+--------+-------- ... ---------+------------+
 *   | type | length | body, padded         | length     |
 *   +------+--------+-------- ... ---------+------------+
 *   section header    8 byte-order magic, 12 major (u16), 14 minor (u16), 16 section length (i64), 24 options
 *   interface         8 link type (u16), 10 reserved (u16), 12 snaplen, 16 options
 *   enhanced packet   8 interface, 12 time high, 16 time low, 20 captured, 24 length, 28 bytes, padding, options
 *   simple packet     8 length, 12 bytes (as many as length and the interface's snaplen allow), padding
 *   packet (obsolete) 8 interface (u16), 10 drops (u16), 12 time high, 16 low, 20 captured, 24 length, 28 bytes
 *   option            0 code (u16), 2 length (u16), 4 value, padded to 4
 */
export const PCAP = {
  MAGIC_MICROSECONDS: 0xa1b2c3d4,
  MAGIC_NANOSECONDS: 0xa1b23c4d,
  HEADER: 24,
  MAJOR: 4,
  MINOR: 6,
  SNAPLEN: 16,
  LINK_TYPE: 20,
  RECORD_HEADER: 16,
  RECORD_FRACTION: 4,
  RECORD_CAPTURED: 8,
  RECORD_LENGTH: 12,
} as const;

export const PCAPNG = {
  SECTION: 0x0a0d0d0a,
  INTERFACE: 1,
  /** Obsolete, but old captures have it. */
  PACKET: 2,
  SIMPLE_PACKET: 3,
  ENHANCED_PACKET: 6,
  BYTE_ORDER_MAGIC: 0x1a2b3c4d,
  /** Type, length and the length again: a block without a body. */
  EMPTY_BLOCK: 12,
  SECTION_BODY: 16,
  INTERFACE_OPTIONS: 16,
  PACKET_DATA: 28,
  SIMPLE_PACKET_DATA: 12,
  OPTION_END: 0,
  OPTION_IF_NAME: 2,
  OPTION_IF_TSRESOL: 9,
  OPTION_IF_TSOFFSET: 14,
} as const;

/** More than a record can have captured: libpcap's MAXIMUM_SNAPLEN. Beyond it a length is taken for a lie. */
export const LONGEST_RECORD = 262144;

export const LINK_TYPE = { ETHERNET: 1, RAW: 101, IPV4: 228, IPV6: 229 } as const;

/** Layer of the packets of a link type (https://www.tcpdump.org/linktypes.html). 12 and 14 are DLT_RAW's old values. */
const LAYERS: ReadonlyMap<number, 2 | 3> = new Map([
  [LINK_TYPE.ETHERNET, 2],
  [12, 3],
  [14, 3],
  [LINK_TYPE.RAW, 3],
  [LINK_TYPE.IPV4, 3],
  [LINK_TYPE.IPV6, 3],
]);

const LINK_TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [0, "NULL"],
  [6, "IEEE802_5"],
  [8, "SLIP"],
  [9, "PPP"],
  [10, "FDDI"],
  [50, "PPP_HDLC"],
  [51, "PPP_ETHER"],
  [105, "IEEE802_11"],
  [108, "LOOP"],
  [113, "LINUX_SLL"],
  [117, "PFLOG"],
  [119, "IEEE802_11_PRISM"],
  [127, "IEEE802_11_RADIOTAP"],
  [147, "USER0"],
  [187, "BLUETOOTH_HCI_H4"],
  [189, "USB_LINUX"],
  [195, "IEEE802_15_4_WITHFCS"],
  [220, "USB_LINUX_MMAPPED"],
  [227, "CAN_SOCKETCAN"],
  [239, "NFLOG"],
  [247, "INFINIBAND"],
  [249, "USBPCAP"],
  [253, "NETLINK"],
  [276, "LINUX_SLL2"],
]);

/** 2 or 3; 0: a link type whose packets cannot be used here. */
export function layerOfLinkType(linkType: number): 0 | 2 | 3 {
  return LAYERS.get(linkType) ?? 0;
}

export function describeLinkType(linkType: number): string {
  const name = LINK_TYPE_NAMES.get(linkType);
  return name === undefined ? `link type ${linkType}` : `link type ${linkType} (${name})`;
}

/** What else a file may be, by its first bytes in the order in which they stand, and what to do about it. */
const OTHER_FILES: [magic: number, bytes: 2 | 4, what: string][] = [
  [0x1f8b, 2, "is gzip-compressed: decompress it first (gunzip), or pipe `zcat` into `read: -`"],
  [0x28b52ffd, 4, "is zstd-compressed: decompress it first (unzstd), or pipe `zstdcat` into `read: -`"],
  [0xfd377a58, 4, "is xz-compressed: decompress it first (unxz), or pipe `xzcat` into `read: -`"],
  [0x425a6839, 4, "is bzip2-compressed: decompress it first (bunzip2), or pipe `bzcat` into `read: -`"],
  [0x04224d18, 4, "is lz4-compressed: decompress it first (unlz4), or pipe `lz4cat` into `read: -`"],
  [0xa1b2cd34, 4, "is a pcap of Kuznetzov's patched libpcap: convert it first (editcap -F pcap)"],
  [0x34cdb2a1, 4, "is a pcap of Kuznetzov's patched libpcap: convert it first (editcap -F pcap)"],
  [0x736e6f6f, 4, "is a snoop capture: convert it first (editcap -F pcap)"],
];

/** What is wrong with a file that starts with these four bytes, read as a big-endian number. */
export function describeMagic(magic: number): string {
  for (const [known, bytes, what] of OTHER_FILES) {
    if ((bytes === 2 ? magic >>> 16 : magic) === known) return what;
  }
  const text = magic.toString(16).padStart(8, "0").replace(/../g, "$& ").trimEnd();
  return `is neither pcap nor pcapng: it starts with the bytes ${text}`;
}
