// nat with packets that scapy made, judged by scapy: addresses, ports and every checksum.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { ANY_PORT, Folder, hasTool, pcapFile, tshark } from "../support/pcap.ts";
import { LACKS_SCAPY, scapyMake, scapySees } from "../support/scapy.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

const OUTSIDE = "198.51.100.2";

describe.skipIf(LACKS_SCAPY !== undefined)(
  `scapy judges${LACKS_SCAPY ? ` (skipped: ${LACKS_SCAPY})` : ""}`,
  () => {
    let nat: FilterModule;
    let bench: FilterBench;
    let made: Uint8Array[];
    let translated: Uint8Array[];
    beforeAll(async () => {
      nat = await filterModule("nat");
      bench = new FilterBench(nat, { inside: "10.77.0.0/16", outside: OUTSIDE });
      made = scapyMake("nat");
      translated = made.map((bytes) => {
        const sent = bench.send(bytes);
        expect(sent.output).toBe("next");
        return sent.bytes;
      });
    });

    test("packets on their way out: the source is outside, all else is as it was, checksums are right", () => {
      const before = scapySees(made);
      const after = scapySees(translated);
      expect(after.length).toBe(152);
      after.forEach((seen, i) => {
        expect(before[i].wrong).toEqual([]);
        expect(seen).toEqual({
          ...before[i],
          from: OUTSIDE,
          ports: [seen.ports[0], ...before[i].ports.slice(1)],
        });
      });
      const endpoints = after.map(({ ports }, i) => `${translated[i][9]} ${ports[0]}`);
      // Each inside host sends from one port, but for the protocols that have ports of their own.
      expect(new Set(endpoints).size, "no two mappings have the same endpoint").toBe(19 * 3);
    });

    test("what answers them, made by swapping ends: it goes to the inside endpoint, checksums are right", () => {
      const answers = translated.map(answer);
      const before = scapySees(answers);
      const after = scapySees(answers.map((bytes) => bench.send(bytes).bytes));
      const originals = scapySees(made);
      after.forEach((seen, i) => {
        expect(before[i].wrong).toEqual([]);
        expect(seen.wrong).toEqual([]);
        expect(seen.to).toBe(originals[i].from);
        expect(seen.from).toBe(before[i].from);
        expect(seen.ports.at(-1)).toBe(originals[i].ports[0]);
      });
    });

    test.skipIf(!hasTool("tshark"))(
      "tshark finds nothing malformed and no bad checksum (needs tshark)",
      () => {
        const folder = new Folder();
        const errors = translated.map((bytes) => bench.send(icmpError(bytes, OUTSIDE, 2000)).bytes);
        const answers = translated.map((bytes) => bench.send(answer(bytes)).bytes);
        const all = [...translated, ...answers, ...errors];
        const file = join(folder.path, "translated.pcap");
        writeFileSync(file, pcapFile(all.map((bytes, i) => ({ seconds: i, fraction: 0, bytes }))));
        const checks = ["ip", "tcp", "udp"].flatMap((kind) => ["-o", `${kind}.check_checksum:TRUE`]);
        const status = ["ip", "tcp", "udp", "icmp"].map((kind) => `${kind}.checksum.status`);
        // What an ICMP error quotes is shown too: each field is a list, innermost last.
        const rows = tshark(file, [...status, "_ws.malformed"], ...ANY_PORT, ...checks);
        folder.remove();
        expect(rows.length).toBe(all.length);
        const verdicts = new Set(rows.flatMap((row) => row.slice(0, 4).flatMap((cell) => cell.split(","))));
        // 1: good; 2: not verified (part of a quote); empty: not of this protocol; 0 would be bad.
        expect([...verdicts].sort()).not.toContain("0");
        expect(verdicts.has("1")).toBe(true);
        expect(rows.every((row) => (row[4] ?? "") === "")).toBe(true);
      },
    );

    test.each([8, 28, 2000])(
      "ICMP errors that quote %d bytes behind the IP header, from outside",
      (quote) => {
        const errors = translated.map((bytes) => icmpError(bytes, OUTSIDE, quote));
        const originals = scapySees(made);
        const before = scapySees(errors);
        const after = scapySees(errors.map((bytes) => bench.send(bytes).bytes));
        after.forEach((seen, i) => {
          expect(before[i].wrong).toEqual([]);
          expect(seen.wrong).toEqual([]);
          expect(seen).toMatchObject({ from: "203.0.113.1", to: originals[i].from, icmp: [11, 0] });
          // The sender sees the very bytes that it sent.
          const header = (made[i][0] & 15) * 4;
          if (quote === 2000) expect(seen.quote).toBe(Buffer.from(made[i]).toString("hex"));
          else
            expect(seen.quote?.slice(0, 2 * (header + 8))).toBe(
              Buffer.from(made[i].subarray(0, header + 8)).toString("hex"),
            );
        });
      },
    );
  },
);

/** Source and destination, ports too, swapped: sums stay what they were. A query becomes its reply. */
function answer(bytes: Uint8Array): Uint8Array {
  const reply = Uint8Array.from(bytes);
  reply.set(bytes.subarray(12, 16), 16);
  reply.set(bytes.subarray(16, 20), 12);
  const at = (bytes[0] & 15) * 4;
  if (bytes[9] === 1) {
    reply[at] = bytes[at] === 8 ? 0 : 14;
    // RFC 1624: the type is the high byte of the first word.
    const sum = bytes[at + 2] * 256 + bytes[at + 3] + (bytes[at] - reply[at]) * 256;
    const folded = ((sum % 0xffff) + 0xffff) % 0xffff;
    reply[at + 2] = folded >> 8;
    reply[at + 3] = folded & 255;
    return reply;
  }
  reply.set(bytes.subarray(at, at + 2), at + 2);
  reply.set(bytes.subarray(at + 2, at + 4), at);
  return reply;
}

function icmpError(about: Uint8Array, to: string, quote: number): Uint8Array {
  const quoted = about.subarray(0, (about[0] & 15) * 4 + quote);
  const length = 28 + quoted.length;
  const header = [0x45, 0, length >> 8, length & 255, 0, 1, 0, 0, 64, 1, 0, 0, 203, 0, 113, 1];
  const ip = [...header, ...to.split(".").map(Number)];
  const icmp = [11, 0, 0, 0, 0, 0, 0, 0, ...quoted];
  checksumAt(ip, 10);
  checksumAt(icmp, 2);
  return Uint8Array.from([...ip, ...icmp]);
}

function checksumAt(bytes: number[], field: number): void {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i] * 256 + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  bytes[field] = (~sum >> 8) & 255;
  bytes[field + 1] = ~sum & 255;
}
