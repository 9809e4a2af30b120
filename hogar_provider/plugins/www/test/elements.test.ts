import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import "../src/app";
import type { LitElement } from "lit";
import { Api } from "../src/api";
import type { HogarApp } from "../src/app";
import type { HogarChart } from "../src/chart";
import { LiveGraph } from "../src/live";
import type { GraphEvent, History, Trouble } from "../src/types";
import { batch, fakeApi, mount, node, PlayedStream, sample, summary, text, until, view } from "./fixtures";

const base = "http://localhost/hogar/api/v1";

beforeEach(() => {
  vi.stubGlobal("EventSource", PlayedStream);
  PlayedStream.last = null;
  location.hash = "";
});

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

async function app(properties: Record<string, unknown>): Promise<HogarApp> {
  return mount<HogarApp>("hogar-app", { apiBase: base, ...properties });
}

describe("the app", () => {
  it("explains itself on a DAG that is no graph, and asks no more", async () => {
    const { calls } = fakeApi({
      "GET /dags/Plain/graph": Response.json(
        { error: { code: "not_a_hogar_graph", message: "It does not come from a UDGL file." } },
        { status: 200 },
      ),
    });
    const element = await app({ dagId: "Plain" });
    await until(() => text(element).includes("Not a HOGAR graph"), "the explanation");
    await new Promise((resolve) => setTimeout(resolve, 1300));
    // A browser logs every 404.
    expect(calls.map((call) => call.path)).toEqual(["/dags/Plain/graph?quiet=true"]);
  });

  it("says why it may not show a graph", async () => {
    fakeApi({
      "GET /dags/Secret/graph": Response.json(
        { error: { code: "forbidden", message: "You may not read the DAG Secret." } },
        { status: 403 },
      ),
    });
    const element = await app({ dagId: "Secret" });
    await until(() => text(element).includes("You may not read the DAG Secret."), "the sentence");
  });

  it("follows the stream: a node that dies is told in the bar, in the graph and to a screen reader", async () => {
    fakeApi({ "GET /dags/Senti/graph": view(), "GET /dags/Senti/events": { events: [] } });
    const element = await app({ dagId: "Senti" });
    await until(() => PlayedStream.last !== null, "the stream");
    const at = Date.now() / 1000;
    PlayedStream.last!.send(
      "graph",
      view([node(1), node(2, { state: "dead", since: at - 3, reason: "its model was killed by signal 9" })], {
        at,
      }),
    );
    await element.updateComplete;
    const bar = element.shadowRoot!.querySelector(".alarm.dead")!;
    expect(bar.textContent).toMatch(/Node-2\s+has been dead for [23] s: its model was killed by signal 9/);
    expect(element.shadowRoot!.querySelector("[aria-live]")!.textContent).toContain("Node-2 is dead");
    const graph = element.shadowRoot!.querySelector("hogar-graph")!;
    await (graph as unknown as { updateComplete: Promise<unknown> }).updateComplete;
    const dead = graph.shadowRoot!.querySelector('[data-index="2"]')!;
    expect(dead.classList.contains("s-dead")).toBe(true);
    const told = dead.textContent!.replace(/\s+/g, " ");
    expect(told).toContain("Node-2");
    expect(told).toMatch(/dead for [23] s/);
    expect(told).toContain("its model was killed by signal 9");
  });

  it("tells a death that was over before the next look: in the bar, on the node and to a screen reader", async () => {
    fakeApi({ "GET /dags/Senti/graph": view(), "GET /dags/Senti/events": { events: [] } });
    const element = await app({ dagId: "Senti" });
    await until(() => PlayedStream.last !== null, "the stream");
    const at = Date.now() / 1000;
    const trouble: Trouble = {
      worst: "recovering",
      began: at - 2.5,
      ended: at - 2.466,
      why: "its model (pid 12) was killed by SIGKILL",
      steps: [{ at: at - 2.47, what: "its backup took over in 34 ms" }],
    };
    PlayedStream.last!.send("graph", view([node(1), node(2, { trouble })], { at }));
    await element.updateComplete;
    const said = (selector: string) =>
      element.shadowRoot!.querySelector(selector)!.textContent!.replace(/\s+/g, " ");
    expect(element.shadowRoot!.querySelector(".alarm.dead")).toBeNull();
    expect(said(".alarm.past")).toMatch(
      /Node-2 died at \d\d:\d\d:\d\d, 2 s ago: its model \(pid 12\) was killed by SIGKILL; its backup took over in 34 ms\. Whole again after 34 ms\./,
    );
    expect(said("[aria-live]")).toContain("Node-2 died and serves: its model (pid 12) was killed by SIGKILL");
    const graph = element.shadowRoot!.querySelector("hogar-graph")!;
    await (graph as unknown as { updateComplete: Promise<unknown> }).updateComplete;
    const strip = graph.shadowRoot!.querySelector('[data-index="2"].lately .lately')!;
    expect(strip.textContent!.replace(/\s+/g, " ")).toBe(
      "died 2 s ago, whole after 34 ms its backup took over in 34 ms",
    );
    expect(graph.shadowRoot!.querySelectorAll(".lately .lately")).toHaveLength(1);
    // While it still recovers its state says so, and once more would be too much.
    PlayedStream.last!.send(
      "graph",
      view([node(1), node(2, { state: "recovering", trouble: { ...trouble, ended: null } })], { at: at + 1 }),
    );
    await element.updateComplete;
    expect(element.shadowRoot!.querySelector(".alarm.past")).toBeNull();
    expect(element.shadowRoot!.querySelector(".alarm.warn")).not.toBeNull();
    // A backup has taken over, and a new one starts.
    PlayedStream.last!.send(
      "graph",
      view([node(1), node(2, { state: "degraded", trouble: { ...trouble, ended: null } })], { at: at + 2 }),
    );
    await element.updateComplete;
    expect(said(".alarm.past")).toMatch(/took over in 34 ms\. /);
    PlayedStream.last!.send("graph", view([node(1), node(2)], { at: at + 20 }));
    await element.updateComplete;
    expect(element.shadowRoot!.querySelector(".alarm.past")).toBeNull();
  });

  it("keeps events in order, whichever come first", async () => {
    const event = (number: number): GraphEvent => ({
      number,
      at: 1000 + number,
      node: "Node-1",
      what: `event ${number}`,
      before: "",
      after: "",
    });
    let answer: (value: unknown) => void = () => {};
    const { api } = fakeApi({ "GET /dags/Senti/graph": view() });
    api.events = () => new Promise((resolve) => (answer = resolve as (value: unknown) => void));
    const live = new LiveGraph(api, "Senti");
    live.start();
    await until(() => PlayedStream.last !== null, "the stream");
    PlayedStream.last!.send("events", { events: [event(3), event(4)] });
    answer({ events: [event(1), event(2), event(3)] });
    await until(() => live.events.length === 4, "all events");
    expect(live.events.map((one) => one.number)).toEqual([1, 2, 3, 4]);
    live.stop();
  });

  it("shows a declared graph that is not deployed, and says how to deploy it", async () => {
    fakeApi({
      "GET /dags/Senti/graph": view(
        [node(1, { state: "undeployed", requests_per_second: null, batch: null })],
        {
          deployed: false,
          state: "undeployed",
        },
      ),
      "GET /dags/Senti/events": { events: [] },
    });
    const element = await app({ dagId: "Senti" });
    await until(() => text(element).includes("Trigger its DAG"), "how to deploy it");
    expect(element.shadowRoot!.querySelector("hogar-stopping")).toBeNull();
  });

  it("connects again by itself, ever more seldom, where the server is away", async () => {
    const { calls } = fakeApi({ "GET /dags/Senti/graph": view(), "GET /dags/Senti/events": { events: [] } });
    const element = await app({ dagId: "Senti" });
    await until(() => PlayedStream.last !== null, "the stream");
    const first = PlayedStream.last!;
    // At its end the browser connects again by itself; that this fails too, is another matter.
    first.dispatchEvent(new Event("error"));
    expect(first.readyState).toBe(1);
    first.dispatchEvent(new Event("error"));
    expect(first.readyState).toBe(PlayedStream.CLOSED);
    const asked = calls.length;
    await until(() => PlayedStream.last !== first, "another stream");
    expect(calls.length).toBeGreaterThan(asked);
    expect(text(element)).not.toContain("cannot be reached");
  });

  it("asks no more where the user is signed out", async () => {
    const { calls } = fakeApi({
      "GET /dags/Senti/graph": Response.json(
        { error: { code: "not_authenticated", message: "You are not logged in." } },
        { status: 401 },
      ),
    });
    const element = await app({ dagId: "Senti" });
    await until(() => text(element).includes("You are signed out."), "the sentence");
    await new Promise((resolve) => setTimeout(resolve, 1300));
    expect(calls).toHaveLength(1);
  });

  it("opens from a link what it was made for", async () => {
    location.hash = "#hogar?view=batching";
    fakeApi({
      "GET /dags/Senti/graph": view(),
      "GET /dags/Senti/events": { events: [] },
      "GET /dags/Senti/batching/changes": { changes: [] },
    });
    const element = await app({ dagId: "Senti" });
    await until(() => element.shadowRoot!.querySelector("hogar-batching") !== null, "the batching view");
  });

  it("shows a task's node", async () => {
    fakeApi({ "GET /dags/Senti/graph": view(), "GET /dags/Senti/events": { events: [] } });
    const element = await app({ dagId: "Senti", taskId: "probe.Node-2", place: "task" });
    await until(() => element.shadowRoot!.querySelector("hogar-node-panel") !== null, "the node");
    expect(text(element.shadowRoot!.querySelector<HTMLElement>("hogar-node-panel")!)).toContain("Node-2");
  });

  it("closes its stream when it leaves the page", async () => {
    fakeApi({ "GET /dags/Senti/graph": view(), "GET /dags/Senti/events": { events: [] } });
    const element = await app({ dagId: "Senti" });
    await until(() => PlayedStream.last !== null, "the stream");
    element.remove();
    expect(PlayedStream.last!.readyState).toBe(2);
  });
});

describe("the batch editor", () => {
  const put = "PUT /dags/Senti/nodes/1/batching";

  async function editor(answer: unknown, part = {}) {
    const { api, calls } = fakeApi({ [put]: answer });
    const element = await mount<HTMLElement & { updateComplete: Promise<unknown> }>("hogar-batch-editor", {
      api,
      dag: "Senti",
      node: node(1, { batch: batch(part) }),
    });
    const find = <T extends HTMLElement>(selector: string) => element.shadowRoot!.querySelector<T>(selector)!;
    const type = async (selector: string, value: string) => {
      const input = find<HTMLInputElement>(selector);
      input.value = value;
      input.dispatchEvent(new Event("input"));
      await element.updateComplete;
    };
    const submit = () =>
      find<HTMLFormElement>("form").dispatchEvent(new Event("submit", { cancelable: true }));
    return { element, calls, find, type, submit };
  }

  it("sends only what was changed, and says that it is set", async () => {
    const { element, calls, find, type, submit } = await editor(batch({ limit: 16, set_by: "maria" }));
    expect(find<HTMLButtonElement>("button.primary").disabled).toBe(true);
    await type("#limit", "16");
    expect(find<HTMLInputElement>('input[type="range"]').value).toBe("16");
    submit();
    await until(() => text(element).includes("Limit 16, from the next batch on."), "that it is set");
    expect(calls).toEqual([{ method: "PUT", path: "/dags/Senti/nodes/1/batching", body: { limit: 16 } }]);
  });

  it("keeps what is being typed while new figures come", async () => {
    const { element, find, type } = await editor(batch());
    await type("#limit", "9");
    Object.assign(element, { node: node(1, { batch: batch({ limit: 20 }) }) });
    await element.updateComplete;
    expect(find<HTMLInputElement>("#limit").value).toBe("9");
  });

  it("refuses what cannot be, before it is sent", async () => {
    const { element, calls, type, submit } = await editor(batch());
    await type("#limit", "0");
    submit();
    expect(text(element)).toContain("at least 1");
    expect(calls).toEqual([]);
  });

  it("shows the API's sentence where it refuses", async () => {
    const refusal = Response.json(
      { error: { code: "forbidden", message: "You may see it, not change it." } },
      { status: 403 },
    );
    const { element, type, submit } = await editor(refusal);
    await type("#limit", "8");
    submit();
    await until(() => text(element).includes("You may see it, not change it."), "the sentence");
  });

  it("resets alone", async () => {
    const { element, calls, find } = await editor(batch(), { limit: 8, set_by: "maria" });
    find<HTMLButtonElement>('button[type="button"]').click();
    await until(() => text(element).includes("Reset to what is declared."), "that it is reset");
    expect(calls[0]!.body).toEqual({ reset: true });
  });
});

describe("a node's charts", () => {
  it("are of the last 15 minutes from the first moment on, also cpu, memory and what waits", async () => {
    const samples = [0, 1, 2].map((k) =>
      sample({ queue_p95_ms: 3 + k, compute_p95_ms: 7, sizes: [0, 0, 10] }),
    );
    fakeApi({
      "GET /dags/Senti/nodes/1/history": {
        step: 1,
        end: 1002,
        samples,
        queue: null,
        compute: null,
        total: null,
        batches: null,
        usage: {
          times: [999, 1001],
          series: [
            { kind: "model", role: "primary", cpu: [null, 0.4], memory: [1e8, 1.1e8] },
            { kind: "model", role: "backup", cpu: [0.1, 0.1], memory: [1e8, 1e8] },
          ],
        },
      } satisfies History,
      "GET /dags/Senti/batching/changes": { changes: [] },
    });
    const charts = await mount<LitElement>("hogar-node-charts", {
      api: new Api(base),
      dag: "Senti",
      node: node(1),
    });
    await until(() => charts.shadowRoot!.querySelector("hogar-heat-map") !== null, "the charts");
    const drawn = new Map(
      [...charts.shadowRoot!.querySelectorAll<HogarChart>("hogar-chart")].map((one) => [one.heading, one]),
    );
    const lines = (heading: string) => drawn.get(heading)!.lines.map(({ label, values }) => [label, values]);
    expect([...drawn.keys()]).toEqual([
      "Latency",
      "Throughput",
      "p95 split",
      "Queue",
      "CPU, of a core",
      "Memory",
    ]);
    expect(lines("p95 split")).toEqual([
      ["waits in queue", [3, 4, 5]],
      ["computes", [7, 7, 7]],
    ]);
    expect(lines("CPU, of a core")).toEqual([
      ["model", [null, 0.4]],
      ["backup's model", [0.1, 0.1]],
    ]);
    expect(drawn.get("Memory")!.times).toEqual([999, 1001]);
    const says = (heading: string) => drawn.get(heading)!.shadowRoot!.querySelector(".none")?.textContent;
    expect([says("CPU, of a core"), drawn.get("CPU, of a core")!.none]).toEqual([
      undefined,
      "no figures of its processes in this time",
    ]);
  });
});

describe("all graphs", () => {
  it("stand with the worst first", async () => {
    const { api } = fakeApi({
      "GET /graphs": {
        graphs: [summary("Fine"), summary("Ill", { nodes_dead: 1 })],
        agent: null,
        message: "",
      },
    });
    const element = await mount<HTMLElement>("hogar-graphs", { api });
    await until(() => element.shadowRoot!.querySelectorAll("tbody tr").length === 2, "two graphs");
    expect([...element.shadowRoot!.querySelectorAll("tbody a")].map((link) => link.textContent)).toEqual([
      "Ill",
      "Fine",
    ]);
  });

  it("are counted on the card", async () => {
    const { api } = fakeApi({
      "GET /graphs": {
        graphs: [summary("Fine"), summary("Ill", { nodes_dead: 2 })],
        agent: null,
        message: "",
      },
    });
    const element = await mount<HTMLElement>("hogar-card", { api });
    await until(() => /2\s*graphs up/.test(text(element)), "the graphs");
    expect(text(element)).toMatch(/2\s*nodes dead/);
  });

  it("say of a silent agent's graph that nothing is known of it, and why", async () => {
    const silent = {
      ...summary("Silent"),
      state: "unknown",
      nodes: 2,
      requests_per_second: null,
      message: "The agent in /box has told nothing for more than 4 s.",
    };
    const reply = { graphs: [summary("Fine"), silent], agent: null, message: silent.message };
    const { api } = fakeApi({ "GET /graphs": reply });
    const list = await mount<HTMLElement>("hogar-graphs", { api });
    await until(() => list.shadowRoot!.querySelectorAll("tbody tr").length === 2, "two graphs");
    // It is what a person has to look at first.
    const [first, second] = [...list.shadowRoot!.querySelectorAll("tbody tr")].map((row) => row.textContent);
    expect(first).toMatch(/Silent.*unknown.*has told nothing/s);
    expect(second).not.toContain("told nothing");
    expect(text(list)).toMatch(/1 graph up, 1 unknown/);
    const card = await mount<HTMLElement>("hogar-card", { api });
    await until(() => /1\s*graph up\s*1\s*unknown/.test(text(card)), "both counts");
    expect(text(card)).toContain("Look at Silent");
  });
});

describe("the module", () => {
  it("can be loaded again under another address", async () => {
    const first = customElements.get("hogar-app");
    vi.resetModules();
    await import("../src/main");
    expect(customElements.get("hogar-app")).toBe(first);
  });
});

describe("the stream", () => {
  it("says in a sentence why there is no news", async () => {
    fakeApi({ "GET /dags/Senti/graph": view(), "GET /dags/Senti/events": { events: [] } });
    const element = await app({ dagId: "Senti" });
    await until(() => PlayedStream.last !== null, "the stream");
    PlayedStream.last!.send("failed", { error: { code: "no_agent", message: "The agent does not answer." } });
    await until(() => text(element).includes("The agent does not answer."), "the sentence");
    PlayedStream.last!.send("graph", view());
    await until(() => !text(element).includes("The agent does not answer."), "that it is over");
  });
});

describe("the host's components", () => {
  it("are one for each place, by the names that the plugin registers", async () => {
    const created: [string, Record<string, unknown>][] = [];
    vi.stubGlobal("React", {
      createElement: (tag: string, props: Record<string, unknown>) => created.push([tag, props]),
    });
    const { PLACES } = await import("../src/main");
    for (const name of Object.keys(PLACES)) {
      (globalThis as unknown as Record<string, (props: object) => void>)[name]!({
        dagId: "Senti",
        taskId: "deploy.A",
      });
    }
    expect(created.map(([tag, props]) => [tag, props.place, props["dag-id"], props["task-id"]])).toEqual(
      ["nav", "dag", "task", "dashboard"].map((place) => ["hogar-app", place, "Senti", "deploy.A"]),
    );
  });
});

describe("the source view", () => {
  const reply = {
    udgl: "operator <img src=x> # a & b\n",
    udgl_lines: [
      [
        { kind: "key", text: "operator" },
        { kind: "", text: " <img src=x> " },
        { kind: "comment", text: "# a & b" },
      ],
      [],
    ],
    earg: "2\n1,A,1,a,32,0\n",
    extras: "",
    deployed: false,
  };
  async function source(udgl_lines: unknown): Promise<Element> {
    const api = new Api(base);
    fakeApi({
      "GET /dags/Senti/source": { ...reply, udgl_lines },
      "GET /dags/Senti/targets": { targets: [] },
    });
    const element = await mount<HTMLElement>("hogar-source", { api, dag: "Senti", name: "Senti" });
    await until(() => element.shadowRoot!.querySelector("pre") !== null, "the text");
    return element.shadowRoot!.querySelector("pre")!;
  }
  const drawn = (pre: Element) =>
    [...pre.querySelectorAll(".line span")].map((span) => [span.className, span.textContent]);

  it("draws the server's colours, and what looks like HTML as text", async () => {
    const pre = await source(reply.udgl_lines);
    expect(pre.querySelectorAll(".line")).toHaveLength(1);
    expect(pre.textContent).toBe("operator <img src=x> # a & b");
    expect(pre.querySelector("img")).toBeNull();
    expect(drawn(pre)).toEqual([
      ["key", "operator"],
      ["comment", "# a & b"],
    ]);
  });

  it("draws a text without colours as it is", async () => {
    const pre = await source(null);
    expect(pre.textContent).toBe("operator <img src=x> # a & b");
    expect(drawn(pre)).toEqual([]);
  });
});

describe("the other platforms", () => {
  const triton = {
    name: "triton",
    files: [
      { name: "G/A/config.pbtxt", text: "a" },
      { name: "G/B/config.pbtxt", text: "b" },
    ],
    findings: [{ code: "TRITON206", severity: "warning", message: "'A' has a timeout", hint: "", line: 7 }],
  };
  const seldon = {
    name: "seldon",
    files: [],
    findings: [
      { code: "SELDON101", severity: "error", message: "the switch of 'A' <b>", hint: "do not", line: 9 },
    ],
  };

  async function list(): Promise<{ element: HTMLElement; calls: { path: string }[] }> {
    const { calls } = fakeApi({
      "GET /dags/Senti/targets": {
        targets: [
          { name: "seldon", description: "Seldon Core 2", declared: false },
          { name: "triton", description: "a model repository", declared: true },
        ],
      },
      "GET /dags/Senti/targets/triton": triton,
      "GET /dags/Senti/targets/seldon": seldon,
    });
    const element = await mount<HTMLElement>("hogar-targets", { api: new Api(base), dag: "Senti" });
    await until(() => element.shadowRoot!.querySelectorAll("details").length === 2, "the list");
    return { element, calls };
  }

  async function opened(element: HTMLElement, number: number): Promise<Element> {
    const details = element.shadowRoot!.querySelectorAll("details")[number]!;
    details.open = true;
    details.dispatchEvent(new Event("toggle"));
    await until(() => details.querySelector("li") !== null, "what it compiles to");
    return details;
  }

  it("compiles only what is opened, the graph's own platforms first", async () => {
    const { element, calls } = await list();
    expect(calls.map((call) => call.path)).toEqual(["/dags/Senti/targets"]);
    const details = await opened(element, 0);
    expect(details.querySelector("b")!.textContent).toBe("triton");
    expect(details.textContent).toContain("line 7: TRITON206 warning: 'A' has a timeout");
    expect(details.querySelector("a")!.getAttribute("href")).toBe(
      `${base}/dags/Senti/targets/triton/archive`,
    );
  });

  it("says what a platform cannot express, and offers no file then", async () => {
    const { element } = await list();
    const details = await opened(element, 1);
    expect(details.querySelector("li.error")!.textContent).toBe(
      "line 9: SELDON101 error: the switch of 'A' <b>; do not",
    );
    expect(details.textContent).toContain("seldon cannot express this graph");
    expect(details.querySelector("a, button")).toBeNull();
  });
});
