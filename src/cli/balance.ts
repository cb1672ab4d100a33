/** Where every packet went, in one line. */
import type { Conservation } from "../control/report.ts";
import { whole } from "./format.ts";

/** "in 100 + made 1 = out 98 + held 1 + drops 2 (firewall drop 2)"; what there is none of is left out. */
export function balanceText(balance: Conservation): string {
  const { in: received, out, segmented, fresh, coalesced, held, drops } = balance;
  const term = (name: string, count: number) => (count === 0 ? "" : ` + ${name} ${whole(count)}`);
  const dropped = Object.values(drops).reduce((a, b) => a + b, 0);
  const reasons = Object.entries(drops).map(([what, n]) => `${what} ${whole(n)}`);
  return (
    `in ${whole(received)}${term("segmented", segmented)}${term("made", fresh)} = ` +
    `out ${whole(out)}${term("coalesced", coalesced)}${term("held", held)} + drops ${whole(dropped)}` +
    (reasons.length > 0 ? ` (${reasons.join(", ")})` : "")
  );
}
