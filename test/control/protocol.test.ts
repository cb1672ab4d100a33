// What is said on a running pipeline's socket, a line at a time, whatever pieces it comes in.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ControlError,
  LineBuffer,
  parseReply,
  parseRequest,
  refusalLine,
  requestLine,
  resultLine,
} from "../../src/control/protocol.ts";

function linesOf(buffer: LineBuffer): string[] {
  const lines: string[] = [];
  for (let line = buffer.take(); line !== undefined; line = buffer.take()) lines.push(line);
  return lines;
}

describe("lines", () => {
  test("come out as they went in, wherever the pieces were cut, also amid a character", () => {
    const text = fc.string({ unit: "grapheme" }).map((line) => line.replaceAll("\n", ""));
    fc.assert(
      fc.property(fc.array(text), fc.array(fc.nat(40)), (lines, cuts) => {
        const buffer = new LineBuffer(1 << 16);
        let rest = Buffer.from(lines.map((line) => `${line}\n`).join(""));
        for (const cut of cuts) {
          buffer.push(rest.subarray(0, cut));
          rest = rest.subarray(cut);
        }
        buffer.push(rest);
        expect(linesOf(buffer)).toEqual(lines);
        expect(buffer.isInLine).toBe(false);
      }),
    );
  });

  test("may be as long as the limit and no byte longer, ended or not", () => {
    const fits = new LineBuffer(4);
    fits.push(Buffer.from("abcd\nefgh"));
    expect(fits).toMatchObject({ tooLong: false, isInLine: true });
    for (const text of ["abcd\nefghi", "abcd\nefghi\n", "abcd\nefghi\nj\n"]) {
      const buffer = new LineBuffer(4);
      for (const byte of Buffer.from(text)) buffer.push(Buffer.from([byte]));
      expect(buffer.tooLong).toBe(true);
      expect(linesOf(buffer), "what came before it").toEqual(["abcd"]);
    }
  });

  test("the last one needs no end", () => {
    const buffer = new LineBuffer(10);
    buffer.push(Buffer.from("one\ntwo"));
    buffer.end();
    expect(linesOf(buffer)).toEqual(["one", "two"]);
  });
});

describe("requests", () => {
  test("name a command; what else is in them is for later versions", () => {
    expect(parseRequest(requestLine("stats"))).toEqual({ command: "stats" });
    expect(parseRequest('{"pktflow":1,"command":"x","more":[1]}\r')).toEqual({ command: "x" });
  });

  test.each([
    ["", "a JSON object in a line"],
    ["stats", "a JSON object in a line"],
    ['"stats"', "a JSON object in a line"],
    ["[]", "a JSON object in a line"],
    ["null", "a JSON object in a line"],
    ["{}", 'this pipeline speaks 1: {"pktflow":1,"command":"stats"}'],
    ['{"pktflow":2,"command":"stats"}', "this pipeline speaks 1"],
    ['{"pktflow":1}', '"command" is missing'],
    ['{"pktflow":1,"command":["stats"]}', '"command" is missing, or no text'],
  ])("%s is none", (line, why) => {
    expect(() => parseRequest(line)).toThrow(why);
    expect(() => parseRequest(line)).toThrow(ControlError);
  });

  test("nothing else is ever thrown", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
        try {
          expect(typeof parseRequest(line).command).toBe("string");
        } catch (error) {
          expect(error).toBeInstanceOf(ControlError);
        }
      }),
    );
  });
});

describe("replies", () => {
  test("bring the result, or throw what was refused, with all that was said of it", () => {
    expect(parseReply(resultLine({ a: [1] }))).toEqual({ a: [1] });
    const refusal = { code: "not-reloadable", message: "no", reasons: ["a", "b"] } as const;
    try {
      parseReply(refusalLine({ ...refusal, reasons: [...refusal.reasons] }));
      expect.unreachable();
    } catch (error) {
      expect((error as ControlError).refusal).toEqual(refusal);
    }
  });

  test.each([
    ["x", "is no reply"],
    ['{"pktflow":7,"ok":true,"result":1}', "another version of the protocol: 7"],
    ['{"pktflow":1,"ok":true}', "neither a result nor an error"],
    ['{"pktflow":1,"ok":false,"error":null}', "neither a result nor an error"],
  ])("%s is told", (line, why) => {
    expect(() => parseReply(line)).toThrow(why);
  });

  test("a code of a later version is a failure", () => {
    const line = '{"pktflow":1,"ok":false,"error":{"code":"new-one","message":"why"}}';
    expect(() => parseReply(line)).toThrow(
      expect.objectContaining({ refusal: { code: "failed", message: "why" } }),
    );
  });
});
