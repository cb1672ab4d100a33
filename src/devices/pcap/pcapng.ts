/** Packets of a pcapng file: sections of either byte order, interfaces with clocks of their own. Drawn in formats.ts. */
import { readU16, readU32 } from "./bytes.ts";
import { describeLinkType, LONGEST_RECORD, layerOfLinkType, PCAPNG } from "./formats.ts";
import { Records } from "./records.ts";
import { TimeScale } from "./timestamp.ts";
import { PCAP_READ_BYTES, STATUS, type Status } from "./window.ts";

/** A file cannot make the list of interfaces longer than this. */
const MOST_INTERFACES = 4096;
/** A step that found a block which is no packet. */
const OTHER = 2;
const MICROSECONDS = 6;

interface Interface {
  linkType: number;
  snaplen: number;
  scale: TimeScale;
}

export class PcapngRecords extends Records {
  private bigEndian = false;
  private interfaces: Interface[] = [];
  /** Link type of the first interface, for messages. */
  private firstLinkType = 0;
  /** A block too long for the window is passed over: its length and offset, until its trailer has been seen. */
  private passedLength = 0;
  private passedStart = 0;

  head(): Status {
    while (this.layer === 0) {
      const step = this.step();
      if (step === STATUS.END)
        return this.fail("has no interface block, so what its packets are is not known");
      if (step !== OTHER) return step;
    }
    return STATUS.READY;
  }

  next(): Status {
    for (;;) {
      const step = this.step();
      if (step !== OTHER) return step;
    }
  }

  /** Goes over one block. */
  private step(): Status | typeof OTHER {
    const { window } = this;
    if (this.passedLength > 0) return this.trailer();
    const start = window.offset;
    // A block of 12 bytes is the smallest there can be, and a section header's byte order stands in its bytes 8 to 11.
    const header = window.want(PCAPNG.EMPTY_BLOCK);
    if (header !== STATUS.READY) {
      if (header === STATUS.END && window.available === 0) return STATUS.END;
      return this.stopped(header, "block header", start, PCAPNG.EMPTY_BLOCK);
    }
    const type = readU32(window.u8, window.at, this.bigEndian);
    if (type === PCAPNG.SECTION && !this.findByteOrder()) {
      return this.fail(`the section header at byte ${start} has no byte-order magic`);
    }
    const length = readU32(window.u8, window.at + 4, this.bigEndian);
    if (length < PCAPNG.EMPTY_BLOCK || length % 4 !== 0) {
      return this.fail(
        `the block at byte ${start} claims to be ${length} bytes long, and no block can be: the file is damaged there`,
      );
    }
    if (length > PCAP_READ_BYTES) return this.pass(type, length, start);
    const body = window.want(length);
    if (body !== STATUS.READY) return this.stopped(body, "block", start, length);
    const again = readU32(window.u8, window.at + length - 4, this.bigEndian);
    if (again !== length) return this.contradiction(start, length, again);
    const result = this.block(type, window.at, length, start);
    window.skip(length);
    return result;
  }

  private findByteOrder(): boolean {
    const { u8, at } = this.window;
    this.bigEndian = readU32(u8, at + 8, true) === PCAPNG.BYTE_ORDER_MAGIC;
    return readU32(u8, at + 8, this.bigEndian) === PCAPNG.BYTE_ORDER_MAGIC;
  }

  /** Passes over a block that is longer than the window. */
  private pass(type: number, length: number, start: number): Status | typeof OTHER {
    switch (type) {
      case PCAPNG.SECTION:
      case PCAPNG.INTERFACE:
      case PCAPNG.PACKET:
      case PCAPNG.SIMPLE_PACKET:
      case PCAPNG.ENHANCED_PACKET:
        return this.fail(
          `the block at byte ${start} (type ${type}) is ${length} bytes long, and ${PCAP_READ_BYTES} is the most`,
        );
      default:
        this.window.skip(length - 4);
        this.passedLength = length;
        this.passedStart = start;
        return OTHER;
    }
  }

  private trailer(): Status | typeof OTHER {
    const { window, passedLength } = this;
    const status = window.want(4);
    if (status !== STATUS.READY) return this.stopped(status, "block", this.passedStart, passedLength);
    const again = readU32(window.u8, window.at, this.bigEndian);
    if (again !== passedLength) return this.contradiction(this.passedStart, passedLength, again);
    window.skip(4);
    this.passedLength = 0;
    return OTHER;
  }

  private contradiction(start: number, length: number, again: number): Status {
    return this.fail(
      `the block at byte ${start} is ${length} bytes long by its start and ${again} by its end: the file is damaged there`,
    );
  }

  /** @param at its address, all of it lies in the window */
  private block(type: number, at: number, length: number, start: number): Status | typeof OTHER {
    switch (type) {
      case PCAPNG.ENHANCED_PACKET:
      case PCAPNG.PACKET:
        return this.packet(type, at, length, start);
      case PCAPNG.SIMPLE_PACKET:
        return this.simplePacket(at, length, start);
      case PCAPNG.INTERFACE:
        return this.addInterface(at, length, start);
      case PCAPNG.SECTION:
        return this.section(at, length, start);
      default:
        return OTHER;
    }
  }

  private packet(type: number, at: number, length: number, start: number): Status {
    const { u8 } = this.window;
    if (length < PCAPNG.PACKET_DATA + 4) return this.tooShort("packet", length, start);
    const index =
      type === PCAPNG.PACKET ? readU16(u8, at + 8, this.bigEndian) : readU32(u8, at + 8, this.bigEndian);
    if (index >= this.interfaces.length) return this.noInterface(index, start);
    const captured = readU32(u8, at + 20, this.bigEndian);
    if (captured > LONGEST_RECORD || captured > length - PCAPNG.PACKET_DATA - 4)
      return this.tooMany(captured, length, start);
    this.time.set(readU32(u8, at + 12, this.bigEndian), readU32(u8, at + 16, this.bigEndian));
    this.interfaces[index].scale.apply(this.time);
    this.data = at + PCAPNG.PACKET_DATA;
    this.length = captured;
    return STATUS.READY;
  }

  /** It has no time; it keeps that of the packet before it. */
  private simplePacket(at: number, length: number, start: number): Status {
    if (length < PCAPNG.SIMPLE_PACKET_DATA + 4) return this.tooShort("simple packet", length, start);
    if (this.interfaces.length === 0) return this.noInterface(0, start);
    const original = readU32(this.window.u8, at + 8, this.bigEndian);
    const { snaplen } = this.interfaces[0];
    const captured = snaplen === 0 ? original : Math.min(original, snaplen);
    if (captured > LONGEST_RECORD || captured > length - PCAPNG.SIMPLE_PACKET_DATA - 4)
      return this.tooMany(captured, length, start);
    this.data = at + PCAPNG.SIMPLE_PACKET_DATA;
    this.length = captured;
    return STATUS.READY;
  }

  private section(at: number, length: number, start: number): Status | typeof OTHER {
    if (length < PCAPNG.EMPTY_BLOCK + PCAPNG.SECTION_BODY)
      return this.tooShort("section header", length, start);
    const major = readU16(this.window.u8, at + 12, this.bigEndian);
    const minor = readU16(this.window.u8, at + 14, this.bigEndian);
    if (major !== 1)
      return this.fail(
        `the section at byte ${start} is pcapng version ${major}.${minor}, and only 1 can be read`,
      );
    this.interfaces = [];
    return OTHER;
  }

  private addInterface(at: number, length: number, start: number): Status | typeof OTHER {
    const { u8 } = this.window;
    if (length < PCAPNG.INTERFACE_OPTIONS + 4) return this.tooShort("interface", length, start);
    if (this.interfaces.length === MOST_INTERFACES)
      return this.fail(`the interface at byte ${start} is one more than ${MOST_INTERFACES}`);
    const linkType = readU16(u8, at + 8, this.bigEndian);
    const layer = layerOfLinkType(linkType);
    if (layer === 0) {
      return this.fail(
        `the interface at byte ${start} has ${describeLinkType(linkType)}: only Ethernet (1), raw IP (101), IPv4 (228) and IPv6 (229) can be read`,
      );
    }
    if (this.layer === 0) this.firstLinkType = linkType;
    else if (this.layer !== layer) {
      return this.fail(
        `the interface at byte ${start} has link type ${linkType} and the first one ${this.firstLinkType}: packets with and without Ethernet headers cannot be read from one file`,
      );
    }
    const scale = this.readOptions(at, length);
    if (scale === undefined)
      return this.fail(`an option of the interface at byte ${start} reaches beyond the end of the block`);
    const snaplen = readU32(u8, at + 12, this.bigEndian);
    this.interfaces.push({ linkType, snaplen, scale });
    this.snaplen = snaplen;
    this.layer = layer;
    return OTHER;
  }

  /** @returns undefined: the options are damaged */
  private readOptions(at: number, length: number): TimeScale | undefined {
    const { u8 } = this.window;
    const end = at + length - 4;
    let resolution = MICROSECONDS;
    let offset = 0n;
    let option = at + PCAPNG.INTERFACE_OPTIONS;
    while (option + 4 <= end) {
      const code = readU16(u8, option, this.bigEndian);
      const bytes = readU16(u8, option + 2, this.bigEndian);
      if (code === PCAPNG.OPTION_END) break;
      const value = option + 4;
      if (value + bytes > end) return undefined;
      if (code === PCAPNG.OPTION_IF_TSRESOL && bytes === 1) resolution = u8[value];
      if (code === PCAPNG.OPTION_IF_TSOFFSET && bytes === 8) offset = this.readI64(value);
      option = value + ((bytes + 3) & ~3);
    }
    return new TimeScale(resolution, offset);
  }

  private readI64(at: number): bigint {
    const first = BigInt(readU32(this.window.u8, at, this.bigEndian));
    const second = BigInt(readU32(this.window.u8, at + 4, this.bigEndian));
    return BigInt.asIntN(64, this.bigEndian ? (first << 32n) | second : (second << 32n) | first);
  }

  private tooShort(what: string, length: number, start: number): Status {
    return this.fail(
      `the ${what} block at byte ${start} is only ${length} bytes long: the file is damaged there`,
    );
  }

  private tooMany(captured: number, length: number, start: number): Status {
    return this.fail(
      `the packet at byte ${start} claims ${captured} captured bytes in a block of ${length}: the file is damaged there`,
    );
  }

  private noInterface(index: number, start: number): Status {
    return this.fail(
      `the packet at byte ${start} came by interface ${index}, and there are ${this.interfaces.length} before it`,
    );
  }
}
