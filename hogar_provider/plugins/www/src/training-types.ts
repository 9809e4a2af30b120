/** What the API answers of trainings. Times are Unix seconds, durations seconds, memory bytes. */

export type TrainingState = "waiting" | "training" | "trained" | "unchanged" | "failed";

export interface ScheduleStep {
  epoch: number;
  batch: number;
}

export interface Epoch {
  epoch: number;
  /** Its end. */
  at: number;
  duration_s: number;
  /** Null where the function reported no finite number. */
  metrics: Record<string, number | null>;
  samples: number | null;
  samples_per_s: number | null;
  batch: number;
  batch_set_by: string;
  change: string | null;
  cpu_s: number;
  cpu_cores: number | null;
  memory_bytes: number;
  checkpoint: boolean;
  try_number: number;
}

export interface TrainingBatchChange {
  id: string;
  at: number;
  who: string;
  from: number;
  /** Null: back to the schedule. */
  to: number | null;
  from_epoch: number;
  only: boolean;
  /** Null until it has taken effect. */
  effective_epoch: number | null;
}

export interface TrainingRun {
  run_id: string;
  run_at: number | null;
  state: TrainingState;
  task_state: string | null;
  try_number: number;
  /** Another one has begun anew: its epochs replace those before. */
  attempt: string | null;
  begun: number | null;
  ended: number | null;
  epoch: number | null;
  epochs_planned: number;
  last_epoch: number | null;
  schedule: ScheduleStep[];
  learning_rate: number | null;
  params: Record<string, string>;
  resumed: { epoch: number; at: number; try_number: number }[];
  ended_by: "epochs" | "early-stop" | null;
  best_epoch: number | null;
  message: string;
  /** While it can be changed. */
  next_batch: { epoch: number; batch: number; set_by: string } | null;
  changes: TrainingBatchChange[];
  epochs: Epoch[];
}

export interface TrainedOperator {
  operator: string;
  task_id: string;
  function: string;
  epochs: number;
  schedule: ScheduleStep[];
  learning_rate: number | null;
  early_stop: { metric: string; patience: number; less_is_better: boolean } | null;
  dataset: string | null;
  params: Record<string, string>;
  metrics: string[];
  /** The newest first. */
  runs: TrainingRun[];
}

export interface TrainingReply {
  cursor: string;
  poll_ms: number;
  operators: TrainedOperator[];
}

export interface TrainingBatchSetting {
  batch?: number;
  from_epoch?: number;
  only?: boolean;
  reset?: boolean;
  run_id?: string;
}
