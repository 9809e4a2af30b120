/** A node's last quarter of an hour: all of it once, then what is new. */

import type { Api } from "./api";
import { KEPT } from "./live";
import type { Histogram, History, Sample } from "./types";

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
  }

  /** One figure of every sample; latencies are absent where nothing passed. */
  column(figure: keyof Sample): (number | null)[] {
    const latency = figure.endsWith("_ms");
    return this.samples.map((sample) => (latency && !sample.requests ? null : (sample[figure] ?? null)));
  }
}
