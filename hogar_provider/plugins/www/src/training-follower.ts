/** The trainings of a graph as they are now: asks for all once, then for what is new. */

import { type Api, ApiError, sentence } from "./api";
import type { TrainedOperator, TrainingReply, TrainingRun } from "./training-types";

const FIRST_RETRY = 2000;
const LAST_RETRY = 15_000;
/** Milliseconds after which all is asked for again: runs that were deleted go then. */
const ANEW = 120_000;

/** Tells of news by a `change` event. Asks nothing while the page is hidden. */
export class TrainingFollower extends EventTarget {
  operators: TrainedOperator[] = [];
  loaded = false;
  /** Why there is no news, in a sentence; empty while there is. */
  problem = "";

  private cursor = "";
  private full = 0;
  private retry = FIRST_RETRY;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private running = false;
  private asking = false;

  /** `operator` is the one that is followed, or empty for all. */
  constructor(
    private readonly api: Api,
    readonly dag: string,
    readonly operator: string,
    readonly runs: number,
  ) {
    super();
  }

  start(): void {
    this.running = true;
    document.addEventListener("visibilitychange", this.shown);
    void this.ask();
  }

  stop(): void {
    this.running = false;
    document.removeEventListener("visibilitychange", this.shown);
    clearTimeout(this.timer);
  }

  /** Asks at once, as after a change that the user has made. */
  refresh(): void {
    clearTimeout(this.timer);
    void this.ask();
  }

  private shown = (): void => {
    if (!document.hidden) this.refresh();
  };

  private async ask(): Promise<void> {
    if (this.asking || document.hidden) return;
    this.asking = true;
    let wait: number;
    try {
      const anew = !this.cursor || Date.now() - this.full > ANEW;
      const reply = await this.api.trainings(this.dag, this.operator, this.runs, anew ? "" : this.cursor);
      this.operators = anew ? reply.operators : merged(this.operators, reply, this.runs);
      if (anew) this.full = Date.now();
      this.cursor = reply.cursor;
      this.loaded = true;
      this.problem = "";
      this.retry = FIRST_RETRY;
      wait = Math.max(250, reply.poll_ms);
    } catch (error) {
      this.problem = sentence(error);
      wait = this.retry;
      this.retry = Math.min(this.retry * 2, LAST_RETRY);
      // What is refused stays refused until somebody else acts.
      if (error instanceof ApiError && (error.status === 403 || error.status === 404)) wait = 60_000;
    }
    this.asking = false;
    if (!this.running) return;
    this.timer = setTimeout(() => void this.ask(), wait);
    this.dispatchEvent(new Event("change"));
  }
}

/** What was known, with what a reply to `since` told. The reply names all operators. */
export function merged(
  before: readonly TrainedOperator[],
  reply: TrainingReply,
  most: number,
): TrainedOperator[] {
  return reply.operators.map((fresh) => {
    const old = before.find((one) => one.operator === fresh.operator);
    if (!old) return fresh;
    const runs = new Map(old.runs.map((run) => [run.run_id, run]));
    const unknown = fresh.runs.filter((run) => !runs.has(run.run_id)).map((run) => run.run_id);
    for (const run of fresh.runs) runs.set(run.run_id, joined(runs.get(run.run_id), run));
    const order = [...unknown, ...old.runs.map((run) => run.run_id)].slice(0, most);
    return {
      ...fresh,
      // A reply names the figures of the epochs in it alone.
      metrics: [...new Set([...old.metrics, ...fresh.metrics])],
      runs: order.map((id) => runs.get(id)!),
    };
  });
}

function joined(old: TrainingRun | undefined, fresh: TrainingRun): TrainingRun {
  const epochs = new Map<number, TrainingRun["epochs"][number]>();
  if (old && old.attempt === fresh.attempt) for (const one of old.epochs) epochs.set(one.epoch, one);
  for (const one of fresh.epochs) epochs.set(one.epoch, one);
  const last = fresh.last_epoch ?? 0;
  return {
    ...fresh,
    // Those after the last one are trained again, as after a resume.
    epochs: [...epochs.values()].filter((one) => one.epoch <= last).sort((a, b) => a.epoch - b.epoch),
  };
}
