/** What can be drawn of an epoch, what batch size an epoch to come has, and words for both. */

import { bytes, count, moment, ms } from "./format";
import type { Epoch, ScheduleStep, TrainedOperator, TrainingRun } from "./training-types";

export interface Figure {
  /** Begins with `~` where it is none that the function reported. */
  id: string;
  label: string;
  value: (epoch: Epoch) => number | null;
  unit: (value: number | null | undefined) => string;
}

/** A reported number, to four digits; a count in full. */
export function number(value: number | null | undefined): string {
  if (value == null) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

export function cores(value: number | null | undefined): string {
  return value == null ? "–" : `${Number(value.toPrecision(2))} ${value === 1 ? "core" : "cores"}`;
}

const seconds = (value: number | null | undefined): string => ms(value == null ? null : value * 1000);

const MEASURED: Figure[] = [
  { id: "~speed", label: "samples/s", value: (e) => e.samples_per_s, unit: count },
  { id: "~duration", label: "epoch duration", value: (e) => e.duration_s, unit: seconds },
  { id: "~cpu", label: "CPU", value: (e) => e.cpu_cores, unit: cores },
  { id: "~memory", label: "memory", value: (e) => e.memory_bytes, unit: bytes },
];

/** What the function reported first, then what was measured. */
export function figures(operator: TrainedOperator): Figure[] {
  const reported = operator.metrics.map(
    (name): Figure => ({ id: name, label: name, value: (e) => e.metrics[name] ?? null, unit: number }),
  );
  return [...reported, ...MEASURED];
}

/** The batch size of `epoch` of a run that is trained, or is to come as things stand. */
export function batchOf(run: TrainingRun, epoch: number): { batch: number; set_by: string } {
  const kept = run.epochs.find((one) => one.epoch === epoch);
  if (kept) return { batch: kept.batch, set_by: kept.batch_set_by };
  const declared = scheduled(run.schedule, epoch);
  let found = { batch: declared, set_by: "schedule" };
  const next = run.next_batch?.epoch;
  for (const change of run.changes) {
    // One that has not taken effect does so in the first epoch that begins from now on.
    const since =
      change.effective_epoch ?? (next === undefined ? undefined : Math.max(next, change.from_epoch));
    if (since === undefined || since > epoch || (change.only && since !== epoch)) continue;
    found = { batch: change.to ?? declared, set_by: change.who };
  }
  return found;
}

function scheduled(schedule: readonly ScheduleStep[], epoch: number): number {
  let batch = schedule[0]?.batch ?? 1;
  for (const step of schedule) if (step.epoch <= epoch) batch = step.batch;
  return batch;
}

/** As the UDGL file says it: `32, 64 from epoch 3`. */
export function scheduleWords(schedule: readonly ScheduleStep[]): string {
  return schedule
    .map((step, k) => (k || step.epoch > 1 ? `${step.batch} from epoch ${step.epoch}` : String(step.batch)))
    .join(", ");
}

/** A run by its time, without seconds where it was not today; by its id where that is not known. */
export function runWords(run: TrainingRun): string {
  if (run.run_at === null) return run.run_id;
  const words = moment(run.run_at);
  return words.includes(" ") ? words.replace(/:\d\d$/, "") : words;
}

export const RUN_LOOKS = {
  waiting: { word: "waiting", glyph: "starting" },
  training: { word: "training", glyph: "busy" },
  trained: { word: "trained", glyph: "ready" },
  unchanged: { word: "skipped", glyph: "undeployed" },
  failed: { word: "failed", glyph: "dead" },
} as const;

/** How the run stands, in a sentence or two. */
export function story(operator: TrainedOperator, run: TrainingRun): string {
  const last = run.last_epoch;
  const resumed = run.resumed[run.resumed.length - 1];
  switch (run.state) {
    case "waiting":
      return last
        ? "It waits for its next try, and goes on after its last checkpoint."
        : "It has not begun: its task waits in Airflow.";
    case "training": {
      const words = run.epoch
        ? `Epoch ${run.epoch} of ${run.epochs_planned} runs.`
        : "Its process starts; no epoch has begun.";
      return resumed ? `${words} Resumed after epoch ${resumed.epoch} by try ${resumed.try_number}.` : words;
    }
    case "trained": {
      const best = run.best_epoch ? ` The best was epoch ${run.best_epoch}.` : "";
      if (run.ended_by === "early-stop") {
        const rule = operator.early_stop;
        const why = rule
          ? `: ${rule.metric} had not become better for ${rule.patience} epoch${rule.patience === 1 ? "" : "s"}`
          : "";
        return `Stopped early, after epoch ${last} of ${run.epochs_planned}${why}.${best}`;
      }
      return last && last < run.epochs_planned
        ? `It ended after epoch ${last} of ${run.epochs_planned}.${best}`
        : `All ${run.epochs_planned} epochs are trained.${best}`;
    }
    case "unchanged":
      return (
        run.message || "Skipped: nothing that it depends on has changed since it was trained the last time."
      );
    case "failed": {
      const words = run.message || "It has failed; the task's log in Airflow says why.";
      return last ? `${words} It had trained up to epoch ${last}.` : words;
    }
  }
}
