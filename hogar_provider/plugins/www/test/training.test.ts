import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import "../src/app";
import { bounds } from "../src/epoch-chart";
import { read, write } from "../src/route";
import { marks, steps } from "../src/training";
import { batchOf, number, scheduleWords, story } from "../src/training-figures";
import { merged, TrainingFollower } from "../src/training-follower";
import type { Epoch, TrainedOperator, TrainingBatchChange, TrainingRun } from "../src/training-types";
import { fakeApi, mount, PlayedStream, text, until, view } from "./fixtures";

type Element = HTMLElement & { updateComplete: Promise<unknown> };

function epoch(at: number, part: Partial<Epoch> = {}): Epoch {
  return {
    epoch: at,
    at: 1000 + at,
    duration_s: 0.4,
    metrics: { loss: 1 / at, accuracy: 1 - 1 / (at + 1) },
    samples: 1437,
    samples_per_s: 3500,
    batch: 32,
    batch_set_by: "schedule",
    change: null,
    cpu_s: 0.8,
    cpu_cores: 1.9,
    memory_bytes: 181_000_000,
    checkpoint: true,
    try_number: 1,
    ...part,
  };
}

function run(id: string, epochs: number, part: Partial<TrainingRun> = {}): TrainingRun {
  return {
    run_id: id,
    run_at: 1000 + id.length,
    state: "trained",
    task_state: "success",
    try_number: 1,
    attempt: "a1",
    begun: 1000,
    ended: 1010,
    epoch: epochs || null,
    epochs_planned: 10,
    last_epoch: epochs || null,
    schedule: [
      { epoch: 1, batch: 32 },
      { epoch: 8, batch: 64 },
    ],
    learning_rate: 0.1,
    params: {},
    resumed: [],
    ended_by: "epochs",
    best_epoch: null,
    message: "",
    next_batch: null,
    changes: [],
    epochs: Array.from({ length: epochs }, (_, k) => epoch(k + 1)),
    ...part,
  };
}

function live(epochs: number, part: Partial<TrainingRun> = {}): TrainingRun {
  return run("the-live-run", epochs, {
    state: "training",
    task_state: "running",
    epoch: epochs + 1,
    ended: null,
    ended_by: null,
    next_batch: { epoch: epochs + 2, batch: 32, set_by: "schedule" },
    ...part,
  });
}

function operator(runs: TrainingRun[], part: Partial<TrainedOperator> = {}): TrainedOperator {
  return {
    operator: "Classifier",
    task_id: "train.Classifier",
    function: "models.digits:train",
    epochs: 10,
    schedule: runs[0]?.schedule ?? [{ epoch: 1, batch: 32 }],
    learning_rate: 0.1,
    early_stop: { metric: "accuracy", patience: 3, less_is_better: false },
    dataset: null,
    params: {},
    metrics: ["loss", "accuracy"],
    runs,
    ...part,
  };
}

function change(part: Partial<TrainingBatchChange> = {}): TrainingBatchChange {
  return {
    id: "c1",
    at: 1005,
    who: "maria",
    from: 32,
    to: 64,
    from_epoch: 6,
    only: false,
    effective_epoch: null,
    ...part,
  };
}

const reply = (operators: TrainedOperator[], poll_ms = 60_000) => ({ cursor: "1", poll_ms, operators });
const path = "GET /dags/Senti/training";

beforeEach(() => {
  vi.stubGlobal("EventSource", PlayedStream);
  location.hash = "";
});

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

async function shown(operators: TrainedOperator[], properties: Record<string, unknown> = {}) {
  const { api, calls } = fakeApi({ [path]: reply(operators) });
  const element = await mount<Element>("hogar-training", { api, dag: "Senti", ...properties });
  await until(() => element.shadowRoot!.querySelector(".bones") === null, "what was loaded");
  return { element, calls, find: <T extends HTMLElement>(of: string) => deep<T>(element, of) };
}

function deep<T extends HTMLElement>(element: HTMLElement, selector: string): T {
  const [first, ...rest] = selector.split(" >>> ");
  const found = element.shadowRoot!.querySelector<T>(first!)!;
  return rest.length ? deep<T>(found, rest.join(" >>> ")) : found;
}

describe("what is followed", () => {
  it("is joined by run and epoch; a new attempt drops what was, and so does a resume what was after it", () => {
    const before = [operator([live(5), run("old", 10)])];
    const more = merged(before, reply([operator([live(6, { epochs: [epoch(6)] })], { metrics: [] })]), 10);
    expect(more[0]!.runs.map((one) => [one.run_id, one.epochs.length])).toEqual([
      ["the-live-run", 6],
      ["old", 10],
    ]);
    expect(more[0]!.metrics).toEqual(["loss", "accuracy"]);
    const resumed = merged(more, reply([operator([live(3, { epochs: [] })])]), 10);
    expect(resumed[0]!.runs[0]!.epochs.map((one) => one.epoch)).toEqual([1, 2, 3]);
    const anew = merged(
      more,
      reply([operator([live(1, { attempt: "a2", epochs: [epoch(1, { batch: 8 })] })])]),
      10,
    );
    expect(anew[0]!.runs[0]!.epochs.map((one) => one.batch)).toEqual([8]);
  });

  it("puts a run that is new first, and keeps no more than were asked for", () => {
    const before = [operator([run("b", 10), run("a", 10)])];
    const more = merged(before, reply([operator([run("c", 1)])]), 2);
    expect(more[0]!.runs.map((one) => one.run_id)).toEqual(["c", "b"]);
  });

  it("is asked for with the cursor, and tells in a sentence why there is no news", async () => {
    const answers: Record<string, unknown> = { [path]: { ...reply([operator([live(1)])]), poll_ms: 250 } };
    const { api, calls } = fakeApi(answers);
    const follower = new TrainingFollower(api, "Senti", "", 10);
    follower.start();
    await until(() => calls.length > 1, "a second look");
    expect(calls.map((call) => call.path).slice(0, 2)).toEqual([
      "/dags/Senti/training?runs=10",
      "/dags/Senti/training?runs=10&since=1",
    ]);
    answers[path] = Response.json(
      { error: { code: "x", message: "The database is away." } },
      { status: 503 },
    );
    await until(() => follower.problem === "The database is away.", "the sentence");
    expect(follower.operators).toHaveLength(1);
    follower.stop();
  });
});

describe("the batch size of an epoch", () => {
  it("is what was trained, then what the newest change says that holds, else the schedule", () => {
    const one = live(4, {
      changes: [
        change({ id: "a", effective_epoch: 3, to: 48 }),
        change({ id: "b", from_epoch: 7, to: 96, only: true }),
      ],
    });
    expect([5, 6, 7, 8].map((at) => batchOf(one, at).batch)).toEqual([48, 48, 96, 48]);
    one.changes.push(change({ id: "c", to: null, from_epoch: 8 }));
    expect([6, 8, 10].map((at) => batchOf(one, at))).toEqual([
      { batch: 48, set_by: "maria" },
      { batch: 64, set_by: "maria" },
      { batch: 64, set_by: "maria" },
    ]);
  });

  it("is drawn as steps, to the end of the plan while it trains", () => {
    const { epochs, batch, planned } = steps(live(3), [run("old", 12)]);
    expect(epochs).toEqual(Array.from({ length: 13 }, (_, k) => k));
    expect(batch.slice(0, 5)).toEqual([32, 32, 32, 32, null]);
    expect(planned[2]).toBeNull();
    expect(planned.slice(3, 11)).toEqual([32, 32, 32, 32, 32, 64, 64, 64]);
    expect(steps(run("over", 3), []).planned.every((value) => value === null)).toBe(true);
  });

  it("of a plan of many epochs is drawn without one point for each", () => {
    const long = live(2, { epochs_planned: 100_000, schedule: [{ epoch: 1, batch: 4 }] });
    const { epochs, planned } = steps(long, []);
    expect(epochs.length).toBeLessThan(12);
    expect(planned[epochs.indexOf(100_000)]).toBe(4);
  });

  it("is marked where it was changed, with who did it, beside resumes and the best", () => {
    const one = run("r", 10, {
      changes: [change({ effective_epoch: 6 }), change({ id: "late", from_epoch: 11 })],
      resumed: [{ epoch: 4, at: 1, try_number: 2 }],
      best_epoch: 9,
    });
    expect(marks(one).map((mark) => [mark.at, mark.text])).toEqual([
      [5, "32 → 64, maria"],
      [4, "resumed, try 2"],
      [9, "best"],
    ]);
  });
});

describe("words and figures", () => {
  it("are short", () => {
    expect([
      number(0),
      number(0.755_234),
      number(1e-6),
      number(123_456.7),
      number(123_457),
      number(null),
    ]).toEqual(["0", "0.7552", "1.00e-6", "123500", "123457", "–"]);
    expect(scheduleWords(run("r", 1).schedule)).toBe("32, 64 from epoch 8");
  });

  it("tell how a training stands", () => {
    const of = operator([]);
    expect(story(of, live(4, { resumed: [{ epoch: 3, at: 1, try_number: 2 }] }))).toBe(
      "Epoch 5 of 10 runs. Resumed after epoch 3 by try 2.",
    );
    expect(story(of, run("r", 7, { ended_by: "early-stop", best_epoch: 4 }))).toBe(
      "Stopped early, after epoch 7 of 10: accuracy had not become better for 3 epochs. The best was epoch 4.",
    );
    expect(story(of, run("r", 0, { state: "unchanged" }))).toContain("Skipped");
    expect(story(of, run("r", 3, { state: "failed", message: "It raised ValueError." }))).toBe(
      "It raised ValueError. It had trained up to epoch 3.",
    );
    expect(story(of, run("r", 0, { state: "waiting" }))).toContain("has not begun");
  });

  it("begin at zero where that costs the curve little", () => {
    expect(bounds(0.1, 1.4)[0]).toBe(0);
    expect(bounds(0.9, 0.97)[0]).toBeGreaterThan(0.85);
    expect(bounds(null, null)).toEqual([0, 1]);
    expect(bounds(-2, -2)[0]).toBeLessThan(-2);
  });
});

describe("a link", () => {
  it("opens the operator, run, figures and comparison that it was made for", () => {
    const training = { operator: "A", run: "manual__1+00:00", figures: ["loss", "~cpu"], compare: [] };
    const route = { view: "training" as const, node: 0, dag: "", part: "", training };
    expect(read(write(route))).toEqual(route);
    expect(read(write({ ...route, view: "events" })).training).toBeUndefined();
  });
});

describe("the training view", () => {
  it("says that a graph trains nothing, and that an operator has not been trained", async () => {
    expect(text((await shown([])).element)).toContain("This graph trains nothing");
    expect(text((await shown([operator([])])).element)).toContain("No run has trained Classifier");
  });

  it("tells why it cannot be shown", async () => {
    const refusal = Response.json({ error: { code: "x", message: "The agent sleeps." } }, { status: 503 });
    const { api } = fakeApi({ [path]: refusal });
    const element = await mount<Element>("hogar-training", { api, dag: "Senti" });
    await until(() => text(element).includes("The agent sleeps."), "the sentence");
  });

  it("draws what was reported, beside the run before, and what is chosen", async () => {
    const { element, find } = await shown([operator([live(4), run("old", 10), run("o", 10)])]);
    const charts = () => [
      ...element.shadowRoot!.querySelectorAll<HTMLElement & { heading: string; lines: unknown[] }>(
        "hogar-epoch-chart",
      ),
    ];
    expect(charts().map((chart) => [chart.heading, chart.lines.length])).toEqual([
      ["loss", 2],
      ["accuracy", 2],
    ]);
    let told: unknown;
    element.addEventListener("choose", (event) => {
      told = (event as CustomEvent).detail;
    });
    find<HTMLInputElement>(".chooser label:nth-of-type(3) input").click();
    expect(told).toEqual({ figures: ["loss", "accuracy", "~speed"] });
    find<HTMLInputElement>("hogar-training-runs >>> tr:nth-child(3) input[type=checkbox]").click();
    expect(told).toEqual({ compare: ["old", "o"] });
    Object.assign(element, { choice: { figures: ["~memory"], compare: [] } });
    await element.updateComplete;
    expect(charts().map((chart) => [chart.heading, chart.lines.length])).toEqual([["memory", 1]]);
    Object.assign(element, { choice: { figures: [] } });
    await element.updateComplete;
    expect(text(element)).toContain("No figure is chosen.");
  });

  it("lists epochs, the one that runs first, and who set which batch size", async () => {
    const epochs = [epoch(1, { metrics: { loss: null } }), epoch(2, { batch: 64, batch_set_by: "maria" })];
    const one = live(2, { epochs, resumed: [{ epoch: 1, at: 1, try_number: 2 }] });
    const { find } = await shown([operator([one])]);
    const rows = [
      ...find("hogar-training-epochs").shadowRoot!.querySelectorAll<HTMLElement>(
        "section:first-of-type tbody tr",
      ),
    ].map((row) => row.textContent!.replace(/\s+/g, " ").trim());
    expect(rows[0]).toMatch(/^3runs/);
    expect(rows[1]).toMatch(/^2resumed.*64maria3500400 ms1.9 cores181 MB$/);
    expect(rows[2]).toContain("NaN");
  });

  it("shows the run before one that was skipped, and says so", async () => {
    const skipped = run("the-newest-run", 0, { state: "unchanged", message: "Nothing has changed." });
    const { element } = await shown([operator([skipped, run("old", 10)])]);
    expect(text(element)).toContain("Nothing has changed.");
    expect(text(element)).toContain("All 10 epochs are trained.");
  });

  it("shows in a task's tab that task's operator and run", async () => {
    const { calls } = fakeApi({
      "GET /dags/Senti/graph": view(),
      "GET /dags/Senti/events": { events: [] },
      [`${path}/Classifier`]: reply([operator([live(2), run("old", 7)])]),
    });
    const element = await mount<Element>("hogar-app", {
      apiBase: "http://localhost/hogar/api/v1",
      dagId: "Senti",
      taskId: "train.Classifier",
      runId: "old",
      place: "task",
    });
    await until(() => element.shadowRoot!.querySelector("hogar-training") !== null, "the training");
    const inner = element.shadowRoot!.querySelector<HTMLElement>("hogar-training")!;
    await until(() => text(inner).includes("It ended after epoch 7 of 10."), "the task's own run");
    expect(calls.some((call) => call.path === "/dags/Senti/training/Classifier?runs=50")).toBe(true);
  });
});

describe("the control of the batch size", () => {
  const put = "PUT /dags/Senti/training/Classifier/batch";

  async function control(answer: unknown, one = live(4)) {
    const { api, calls } = fakeApi({ [put]: answer });
    const element = await mount<Element>("hogar-training-batch", {
      api,
      dag: "Senti",
      operator: "Classifier",
      run: one,
    });
    const find = <T extends HTMLElement>(selector: string) => deep<T>(element, selector);
    const type = async (selector: string, value: string) => {
      const input = find<HTMLInputElement>(selector);
      input.value = value;
      input.dispatchEvent(new Event("input"));
      await element.updateComplete;
    };
    const submit = () => find("form").dispatchEvent(new Event("submit", { cancelable: true }));
    return { element, calls, find, type, submit };
  }

  it("says before what it will do, then that it is set, then that it took effect", async () => {
    const { element, calls, type, submit } = await control(change());
    await type("#batch", "64");
    expect(text(element)).toContain(
      "Epochs 6 to 10 will train with 64; as things stand, epoch 6 would have 32.",
    );
    expect(text(element)).toContain("Epoch 5, which runs now, keeps 32.");
    submit();
    await until(() => text(element).includes("it takes effect when epoch 6 begins"), "that it is set");
    expect(calls[0]!.body).toEqual({ batch: 64, run_id: "the-live-run" });
    Object.assign(element, { run: live(6, { changes: [change({ effective_epoch: 6 })] }) });
    await element.updateComplete;
    expect(text(element)).toContain("It took effect in epoch 6.");
  });

  it("changes one epoch alone", async () => {
    const { element, calls, find, type, submit } = await control(change({ only: true, from_epoch: 8 }));
    await type("#batch", "16");
    await type("#from", "8");
    find<HTMLInputElement>('label:nth-child(2) input[name="which"]').click();
    await element.updateComplete;
    expect(text(element)).toContain("Epoch 8 alone will train with 16 instead of 64.");
    submit();
    await until(() => calls.length === 1, "the call");
    expect(calls[0]!.body).toEqual({ batch: 16, from_epoch: 8, only: true, run_id: "the-live-run" });
  });

  it("keeps what is being typed while epochs go by, and refuses what has begun meanwhile", async () => {
    const { element, calls, find, type, submit } = await control(change());
    await type("#batch", "9");
    await type("#from", "6");
    Object.assign(element, { run: live(5) });
    await element.updateComplete;
    expect(find<HTMLInputElement>("#batch").value).toBe("9");
    expect(text(element)).toContain("Epoch 6 has begun already; the next is 7.");
    submit();
    expect(calls).toEqual([]);
  });

  it("goes back to the schedule", async () => {
    const { element, calls, find } = await control(
      change({ id: "c2", to: null }),
      live(4, { changes: [change({ effective_epoch: 3 })] }),
    );
    find<HTMLButtonElement>('.row.wrap button[type="button"]').click();
    await until(() => text(element).includes("follow the schedule again"), "that it is reset");
    expect(calls[0]!.body).toEqual({ reset: true, run_id: "the-live-run" });
  });

  it("shows the API's sentence, and is closed to who may not change it", async () => {
    const refusal = (status: number, message: string) =>
      Response.json({ error: { code: "x", message } }, { status });
    const late = await control(refusal(409, "Epoch 6 has begun already."));
    await late.type("#batch", "8");
    late.submit();
    await until(() => text(late.element).includes("Epoch 6 has begun already."), "the sentence");
    expect(late.find<HTMLInputElement>("#batch").disabled).toBe(false);
    const closed = await control(refusal(403, "You may see it, not change it."));
    await closed.type("#batch", "8");
    closed.submit();
    await until(() => text(closed.element).includes("You may see it, not change it."), "the sentence");
    expect(closed.find<HTMLInputElement>("#batch").disabled).toBe(true);
  });

  it("says why nothing can be changed", async () => {
    expect(text((await control({}, run("r", 10))).element)).toContain("This training is over.");
    expect(text((await control({}, live(9, { next_batch: null }))).element)).toContain("The last epoch runs");
    expect(text((await control({}, run("r", 0, { state: "unchanged" }))).element)).toContain("was skipped");
  });
});
