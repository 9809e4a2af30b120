/** A node's last quarter of an hour: all of it once, then what is new. */

import type { Api } from "./api";
import type { Histogram, History, Sample, Usage, UsageSeries } from "./types";

/** Seconds that are kept. */
const KEPT = 900;
const PERIOD = 4000;
/** Seconds that are asked for again each time, so that a late answer leaves no hole. */
const AGAIN = 20;

/** Tells of new samples by a `change` event. */
export class NodeHistory extends EventTarget {
  times: number[] = [];
  samples: Sample[] = [];
  batches: Histogram | null = null;
  queue: Histogram | null = null;
  compute: Histogram | null = null;
  /** What the node's processes used, at times of its own. */
  usage: Usage = { times: [], series: [] };
  problem = "";
  loaded = false;

  private timer: ReturnType<typeof setTimeout> | undefined;
  private stopped = false;

  constructor(
    private readonly api: Api,
    private readonly dag: string,
    readonly index: number,
  ) {
    super();
  }

  start(): void {
    void this.ask();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private async ask(): Promise<void> {
    if (!document.hidden) {
      const last = this.times[this.times.length - 1];
      const gap = last ? Math.ceil(Date.now() / 1000 - last) : KEPT;
      try {
        this.merge(
          await this.api.history(
            this.dag,
            this.index,
            this.loaded ? Math.min(KEPT, Math.max(AGAIN, gap + AGAIN)) : KEPT,
          ),
        );
        this.problem = "";
      } catch (error) {
        this.problem = error instanceof Error ? error.message : String(error);
      }
      if (this.stopped) return;
      this.loaded ||= !this.problem;
      this.dispatchEvent(new Event("change"));
    }
    this.timer = setTimeout(() => void this.ask(), PERIOD);
  }

  merge(history: History): void {
    const end = Math.round(history.end);
    const first = end - (history.samples.length - 1) * history.step;
    const kept = this.times.findIndex((at) => at >= first);
    if (kept >= 0) {
      this.times.length = kept;
      this.samples.length = kept;
    }
    history.samples.forEach((sample, k) => {
      this.times.push(first + k * history.step);
      this.samples.push(sample);
    });
    const old = this.times.findIndex((at) => at > end - KEPT);
    if (old > 0) {
      this.times.splice(0, old);
      this.samples.splice(0, old);
    }
    this.batches = history.batches;
    this.queue = history.queue;
    this.compute = history.compute;
    if (history.usage) this.usage = joined(this.usage, history.usage, history.end - KEPT);
  }

  /** One figure of every sample; latencies are absent where nothing passed. */
  column(figure: Exclude<keyof Sample, "sizes">): (number | null)[] {
    return this.samples.map((sample) => {
      // No latency is exactly 0: that is a second in which none was measured.
      if (figure.endsWith("_ms")) return sample[figure] || null;
      return sample[figure] ?? null;
    });
  }
}

/** What was known before the first of the newer times, and what is newer; nothing before `since`. */
function joined(old: Usage, newer: Usage, since: number): Usage {
  const first = newer.times[0] ?? Number.POSITIVE_INFINITY;
  const from = old.times.findIndex((at) => at > since);
  const until = old.times.findIndex((at) => at >= first - 0.05);
  const kept: [number, number] = [from < 0 ? old.times.length : from, until < 0 ? old.times.length : until];
  const name = (one: UsageSeries) => `${one.kind} ${one.role}`;
  const times = [...old.times.slice(...kept), ...newer.times];
  const all = new Map([...newer.series, ...old.series].map((one) => [name(one), one]));
  const find = (usage: Usage, key: string) => usage.series.find((one) => name(one) === key);
  const series = [...all].map(([key, { kind, role }]) => {
    const before = find(old, key);
    const after = find(newer, key);
    const none = (n: number) => Array<null>(Math.max(0, n)).fill(null);
    const part = (figure: "cpu" | "memory") => [
      ...(before ? before[figure].slice(...kept) : none(kept[1] - kept[0])),
      ...(after ? after[figure] : none(newer.times.length)),
    ];
    return { kind, role, cpu: part("cpu"), memory: part("memory") };
  });
  // The primary first, and its model before its proxy, whatever came first.
  series.sort((a, b) => b.role.localeCompare(a.role) || a.kind.localeCompare(b.kind));
  return { times, series };
}
