// What became of a probe: an answer, a refusal, or a silence that the pipeline's counters must explain to the packet.
import { describe, expect, test } from "vitest";
import type { Answer } from "../../src/lab/probes/probe.ts";
import { judge, type Whereabouts } from "../../src/lab/verdict.ts";

const NOWHERE: Whereabouts = { drops: {}, taken: {} };
const dropped = (packets: number): Whereabouts => ({ drops: { "firewall drop": packets }, taken: {} });
const ports = (...outcomes: Partial<Answer>[]): Answer[] =>
  outcomes.map((one, i) => ({ what: `port ${i + 1}`, outcome: "silent", ...one }));
const ANSWERED: Partial<Answer> = { outcome: "answered", ms: 2 };
const REFUSED: Partial<Answer> = { outcome: "refused", why: "ECONNREFUSED" };
const CORRUPT: Partial<Answer> = { outcome: "corrupt", why: "another payload came back" };
const SILENT: Partial<Answer> = {};

describe("a probe is", () => {
  test.each([
    ["ok when all is answered", [ANSWERED, { ...ANSWERED, ms: 1 }], NOWHERE, "ok", "ports 1, 2 answered"],
    [
      "ok when one is answered and the rest dropped",
      [ANSWERED, SILENT],
      dropped(1),
      "ok",
      "port 1 answered; port 2 not answered: firewall drop 1",
    ],
    [
      "refused when nothing is answered and one refused",
      [REFUSED, SILENT],
      dropped(1),
      "refused",
      "port 1 refused: ECONNREFUSED; port 2 not answered: firewall drop 1",
    ],
    [
      "dropped when drops explain the silence",
      [SILENT, SILENT],
      dropped(2),
      "dropped",
      "ports 1, 2 not answered: firewall drop 2",
    ],
    [
      "taken when another device has the packets",
      [SILENT],
      { drops: {}, taken: { capture: 1 } },
      "taken",
      "port 1 not answered: 1 left by capture",
    ],
    [
      "lost when nothing explains the silence",
      [SILENT],
      NOWHERE,
      "lost",
      "port 1 not answered: no drop was counted",
    ],
    [
      "lost when fewer drops were counted than packets are missing",
      [SILENT, SILENT, SILENT],
      dropped(2),
      "lost",
      "ports 1, 2, 3 not answered: only firewall drop 2",
    ],
    [
      "lost when some are answered and the rest is not explained",
      [ANSWERED, SILENT],
      NOWHERE,
      "lost",
      "port 1 answered; port 2 not answered: no drop was counted",
    ],
    [
      "corrupt when anything came back other than it was sent",
      [ANSWERED, CORRUPT],
      NOWHERE,
      "corrupt",
      "port 1 answered; port 2 corrupt: another payload came back",
    ],
  ] as [string, Partial<Answer>[], Whereabouts, string, string][])(
    "%s",
    (_, outcomes, where, state, detail) => {
      expect(judge(ports(...outcomes), where, 3)).toMatchObject({ state, detail });
    },
  );

  test("timed by its fastest answer", () => {
    expect(judge(ports({ ...ANSWERED, ms: 3 }, { ...ANSWERED, ms: 1.5 }), NOWHERE, 3).ms).toBe(1.5);
  });

  test("explained on Ethernet by one drop, that of the address resolution all packets wait for", () => {
    expect(judge(ports(SILENT, SILENT, SILENT), dropped(1), 2).state).toBe("dropped");
    expect(judge(ports(SILENT, SILENT, SILENT), NOWHERE, 2).state).toBe("lost");
  });

  test("arrived where no path leads back", () => {
    expect(judge(ports(ANSWERED), NOWHERE, 3, true)).toMatchObject({
      state: "arrived",
      detail: "port 1 arrived",
    });
  });
});
