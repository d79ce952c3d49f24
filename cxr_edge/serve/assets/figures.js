// Numbers as the report prints them (cxr_edge/report/figures.py): page and PDF must show the same digits.

const ENOUGH_DIGITS = 12;

/** A score and the threshold it is compared with, in as many digits as it takes to see which one is larger. */
export function scoreAndThreshold(score, threshold, mark) {
  let digits = 3;
  while (digits < ENOUGH_DIGITS && !tells(score, threshold, digits)) digits += 1;
  return [share(score, mark, digits), share(threshold, mark, digits)];
}

/** A figure between 0 and 1; what would round to 0 or 1 without being it says so. */
export const share = (value, mark, digits = 3) => marked(shown(value, 1, digits), mark);

/** The three figures of an interval in percent, without the sign. */
export function percentages(interval, mark) {
  const figures = ["estimate", "low", "high"].map((name) => [name, marked(shown(interval[name] * 100, 100, 1), mark)]);
  return Object.fromEntries(figures);
}

/** Milliseconds by stage. */
export function milliseconds(latency, mark) {
  return Object.fromEntries(Object.entries(latency).map(([stage, ms]) => [stage, marked(ms.toFixed(1), mark)]));
}

function tells(score, threshold, digits) {
  const limit = shown(threshold, 1, digits);
  return !/^[<>]/.test(limit) && (score === threshold || limit !== shown(score, 1, digits));
}

function shown(value, whole, digits) {
  const text = value.toFixed(digits);
  const least = 10 ** -digits;
  if (value > 0 && Number(text) === 0) return `< ${least.toFixed(digits)}`;
  if (value < whole && Number(text) >= whole) return `> ${(whole - least).toFixed(digits)}`;
  return text;
}

const marked = (figure, mark) => figure.replace(".", mark);
