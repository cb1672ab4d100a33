/** The bytes with which a capture of ours begins. */
import { writeU16, writeU32 } from "./bytes.ts";
import { LINK_TYPE, LONGEST_RECORD, PCAP, PCAPNG } from "./formats.ts";

const NANOSECONDS = 9;

export type CaptureFormat = "pcap" | "pcapng";

/** pcapng only where the name asks for it: every program reads pcap. */
export function formatOfName(file: string): CaptureFormat {
  return file.endsWith(".pcapng") ? "pcapng" : "pcap";
}

/**
 * @param layer of the packets that follow: Ethernet frames (2) or bare IP packets of either version (3)
 * @param name of the pcapng's one interface
 */
export function captureHeader(format: CaptureFormat, layer: 2 | 3, name: string): Uint8Array {
  const linkType = layer === 2 ? LINK_TYPE.ETHERNET : LINK_TYPE.RAW;
  return format === "pcap" ? pcapHeader(linkType) : pcapngHeader(linkType, name);
}

/** Nanoseconds, which libpcap reads since 1.5 (2013): what arrived is not rounded. */
function pcapHeader(linkType: number): Uint8Array {
  const u8 = new Uint8Array(PCAP.HEADER);
  writeU32(u8, 0, PCAP.MAGIC_NANOSECONDS);
  writeU16(u8, PCAP.MAJOR, 2);
  writeU16(u8, PCAP.MINOR, 4);
  writeU32(u8, PCAP.SNAPLEN, LONGEST_RECORD);
  writeU32(u8, PCAP.LINK_TYPE, linkType);
  return u8;
}

/** A section header and one interface. */
function pcapngHeader(linkType: number, name: string): Uint8Array {
  const interfaceName = new TextEncoder().encode(name);
  const nameBytes = (interfaceName.length + 3) & ~3;
  const section = PCAPNG.EMPTY_BLOCK + PCAPNG.SECTION_BODY;
  const options = 4 + nameBytes + 8 + 4;
  const description = PCAPNG.INTERFACE_OPTIONS + options + 4;
  const u8 = new Uint8Array(section + description);
  writeU32(u8, 0, PCAPNG.SECTION);
  writeU32(u8, 4, section);
  writeU32(u8, 8, PCAPNG.BYTE_ORDER_MAGIC);
  writeU16(u8, 12, 1);
  // Section length -1: not known, for the section is still being written.
  writeU32(u8, 16, 0xffff_ffff);
  writeU32(u8, 20, 0xffff_ffff);
  writeU32(u8, section - 4, section);

  writeU32(u8, section, PCAPNG.INTERFACE);
  writeU32(u8, section + 4, description);
  writeU16(u8, section + 8, linkType);
  writeU32(u8, section + 12, LONGEST_RECORD);
  let option = section + PCAPNG.INTERFACE_OPTIONS;
  writeU16(u8, option, PCAPNG.OPTION_IF_NAME);
  writeU16(u8, option + 2, interfaceName.length);
  u8.set(interfaceName, option + 4);
  option += 4 + nameBytes;
  writeU16(u8, option, PCAPNG.OPTION_IF_TSRESOL);
  writeU16(u8, option + 2, 1);
  u8[option + 4] = NANOSECONDS;
  // Behind it stands opt_endofopt, four zero bytes.
  writeU32(u8, section + description - 4, description);
  return u8;
}
