/** Records of a classic pcap file: both byte orders, micro- and nanoseconds. The format is drawn in formats.ts. */
import { readU16, readU32 } from "./bytes.ts";
import { describeLinkType, LONGEST_RECORD, layerOfLinkType, PCAP } from "./formats.ts";
import { Records } from "./records.ts";
import { STATUS, type Status } from "./window.ts";

/** The link type's field has the length of the frame check sequence in its upper bits. */
const LINK_TYPE_MASK = 0x03ff_ffff;

export class PcapRecords extends Records {
  private bigEndian = false;
  /** ns in a unit of the timestamp's fraction. */
  private fraction = 1;

  static isMagic(magic: number): boolean {
    return magic === PCAP.MAGIC_MICROSECONDS || magic === PCAP.MAGIC_NANOSECONDS;
  }

  head(): Status {
    const { window } = this;
    const status = window.want(PCAP.HEADER);
    if (status !== STATUS.READY) return this.stopped(status, "file header", 0, PCAP.HEADER);
    const { u8, at } = window;
    this.bigEndian = PcapRecords.isMagic(readU32(u8, at, true));
    const magic = readU32(u8, at, this.bigEndian);
    this.fraction = magic === PCAP.MAGIC_NANOSECONDS ? 1 : 1000;
    const major = readU16(u8, at + PCAP.MAJOR, this.bigEndian);
    const minor = readU16(u8, at + PCAP.MINOR, this.bigEndian);
    // Before 2.4 the two lengths of a record could stand in either order.
    if (major !== 2 || minor !== 4)
      return this.fail(`is pcap version ${major}.${minor}, and only 2.4 can be read`);
    const linkType = readU32(u8, at + PCAP.LINK_TYPE, this.bigEndian) & LINK_TYPE_MASK;
    const layer = layerOfLinkType(linkType);
    if (layer === 0)
      return this.fail(
        `has ${describeLinkType(linkType)}: only Ethernet (1), raw IP (101), IPv4 (228) and IPv6 (229) can be read`,
      );
    this.snaplen = readU32(u8, at + PCAP.SNAPLEN, this.bigEndian);
    this.layer = layer;
    window.skip(PCAP.HEADER);
    return STATUS.READY;
  }

  next(): Status {
    const { window } = this;
    if (this.layer === 0) {
      const status = this.head();
      if (status !== STATUS.READY) return status;
    }
    const header = window.want(PCAP.RECORD_HEADER);
    if (header !== STATUS.READY) {
      if (header === STATUS.END && window.available === 0) return STATUS.END;
      return this.stopped(header, "record header", window.offset, PCAP.RECORD_HEADER);
    }
    const captured = readU32(window.u8, window.at + PCAP.RECORD_CAPTURED, this.bigEndian);
    if (captured > LONGEST_RECORD) {
      return this.fail(
        `the record at byte ${window.offset} claims ${captured} captured bytes, and ${LONGEST_RECORD} is the most: the file is damaged there`,
      );
    }
    const bytes = PCAP.RECORD_HEADER + captured;
    const body = window.want(bytes);
    if (body !== STATUS.READY) return this.stopped(body, "record", window.offset, bytes);
    const { u8, at } = window;
    const seconds = readU32(u8, at, this.bigEndian);
    const fraction = readU32(u8, at + PCAP.RECORD_FRACTION, this.bigEndian);
    this.time.setSeconds(seconds, fraction * this.fraction);
    this.data = at + PCAP.RECORD_HEADER;
    this.length = captured;
    window.skip(bytes);
    return STATUS.READY;
  }
}
