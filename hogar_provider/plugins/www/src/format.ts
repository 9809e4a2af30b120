/** Figures as people read them. What is not known is a dash. */

const NONE = "–";

export function rate(perSecond: number | null | undefined): string {
  if (perSecond == null) return NONE;
  if (perSecond === 0) return "0";
  if (perSecond < 0.1) return "<0.1";
  if (perSecond < 10) return perSecond.toFixed(1);
  return count(Math.round(perSecond));
}

export function count(value: number | null | undefined): string {
  if (value == null) return NONE;
  if (value < 10_000) return String(Math.round(value));
  if (value < 1e6) return `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)}k`;
  return `${(value / 1e6).toFixed(1)}M`;
}

export function ms(value: number | null | undefined): string {
  if (value == null) return NONE;
  if (value === 0) return "0 ms";
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 99_950) return `${(value / 1000).toFixed(value < 9995 ? 2 : 1)} s`;
  return span(value / 1000);
}

/** The same where there is little room: "3.5 min" for "3 min 28 s". */
export function shortMs(value: number | null | undefined): string {
  if (value == null || value < 99_950) return ms(value);
  return value < 3_600_000 ? `${decimal(value / 60_000)} min` : `${decimal(value / 3_600_000)} h`;
}

/** A time that has passed, of `seconds`. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

export function percent(share: number | null | undefined): string {
  return share == null ? NONE : `${Math.round(share * 100)} %`;
}

export function bytes(value: number | null | undefined): string {
  if (value == null) return NONE;
  if (value === 0) return "0 MB";
  if (value < 1e6) return `${Math.round(value / 1e3)} kB`;
  if (value < 1e9) return `${Math.round(value / 1e6)} MB`;
  return `${(value / 1e9).toFixed(1)} GB`;
}

export function decimal(value: number | null | undefined): string {
  if (value == null) return NONE;
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}

export function clock(at: number): string {
  const date = new Date(at * 1000);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Clock time, with the day where it is not today. */
export function moment(at: number): string {
  const date = new Date(at * 1000);
  const today = new Date();
  if (date.toDateString() === today.toDateString()) return clock(at);
  return `${date.toLocaleDateString(undefined, { day: "numeric", month: "short" })} ${clock(at)}`;
}

export function plural(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}
