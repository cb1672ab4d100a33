/**
 * The name that was probably meant, if one is close: a few typing errors away (insertion, deletion, substitution,
 * transposition: optimal string alignment, Damerau 1964), or begun and not finished ("masq" for "masquerade").
 */
export function closest(name: string, candidates: Iterable<string>): string | undefined {
  const wanted = name.toLowerCase();
  const allowed = Math.max(1, Math.floor(wanted.length / 3));
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const have = candidate.toLowerCase();
    let distance = editDistance(wanted, have, allowed);
    if (distance > allowed) {
      const begun = wanted.length >= 3 && have.startsWith(wanted);
      const overrun = have.length >= 3 && wanted.startsWith(have);
      if (!begun && !overrun) continue;
      distance = allowed + Math.abs(have.length - wanted.length);
    }
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

const MOST_NAMED = 12;

/** What could stand there, for the end of a message when nobody knows what was meant: "; could be a, b or c". */
export function choice(candidates: readonly string[]): string {
  if (candidates.length === 0) return "";
  const named = candidates.slice(0, MOST_NAMED);
  const more = candidates.length - named.length;
  const last = more > 0 ? `${more} more` : named.pop()!;
  return `; could be ${named.length === 0 ? last : `${named.join(", ")} or ${last}`}`;
}

/** Optimal string alignment distance; anything above `limit` may come back as limit + 1. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = last[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(last[j] + 1, row[j - 1] + 1, substitution);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(row[j], beforeLast[j - 2] + 1);
      }
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length];
}
