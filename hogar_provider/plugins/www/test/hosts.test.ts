import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import "../src/app";
import type { HogarApp } from "../src/app";
import type { HogarGraph } from "../src/graph";
import { deadHosts, type HogarHosts, isOn, loss, stranded } from "../src/hosts";
import type { HogarNodePanel } from "../src/node-panel";
import { read, write } from "../src/route";
import type { GraphView, HostView, NodeView, PairView } from "../src/types";
import { fakeApi, mount, node, PlayedStream, summary, text, until, view } from "./fixtures";

const base = "http://localhost/hogar/api/v1";
const AT = 1_700_000_000;

function pair(host: string, part: Partial<PairView> = {}): PairView {
  return {
    role: "primary",
    state: "ready",
    host,
    address: "10.9.1.2:22223",
    model_pids: [0],
    proxy_pid: 0,
    reason: "",
    ...part,
  };
}

function host(name: string, nodes: string[], part: Partial<HostView> = {}): HostView {
  return { name, dead: false, reason: "", since: AT - 900, nodes, ...part };
}

const gone = { dead: true, since: AT - 12, reason: "its last answer is 14 s old." };

/** Node-1 on box-1; Node-2 was on box-2, and its backup on box-1 has taken over; Node-3 is there yet. */
function played(part: Partial<GraphView> = {}): GraphView {
  const nodes: NodeView[] = [
    node(1, { pairs: [pair("box-1")] }),
    node(2, { stateful: true, state: "degraded", pairs: [pair("box-1")] }),
    node(3, {
      state: "dead",
      since: AT - 11,
      reason: "host box-2 does not answer",
      pairs: [pair("box-2", { state: "dead" })],
    }),
  ];
  return view(nodes, {
    at: AT,
    engine: "docker",
    frontend_host: "box-1",
    hosts: [host("box-2", ["Node-2", "Node-3"], gone), host("box-1", ["Node-1", "Node-2"])],
    ...part,
  });
}

beforeEach(() => {
  vi.stubGlobal("EventSource", PlayedStream);
  PlayedStream.last = null;
  location.hash = "";
});

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

const plain = (element: Element | null | undefined) =>
  (element?.textContent ?? "").replace(/\s+/g, " ").trim();

const cells = (line: Element | null | undefined) => [...(line?.children ?? [])].map(plain).filter(Boolean);

async function shown(first: GraphView): Promise<{ app: HogarApp; graph: () => HogarGraph }> {
  fakeApi({ "GET /dags/Senti/graph": first, "GET /dags/Senti/events": { events: [] } });
  const app = await mount<HogarApp>("hogar-app", { apiBase: base, dagId: "Senti" });
  await until(() => !!app.shadowRoot!.querySelector("hogar-graph"), "the graph");
  const graph = () => app.shadowRoot!.querySelector<HogarGraph>("hogar-graph")!;
  await graph().updateComplete;
  return { app, graph };
}

describe("hosts", () => {
  it("say what was on one that does not answer, and what became of it", () => {
    const graph = played();
    const [dead, alive] = graph.hosts!;
    expect([...deadHosts(graph)]).toEqual(["box-2"]);
    expect(loss(graph, dead!, AT)).toMatch(
      /^does not answer since \d\d:\d\d:\d\d, for 12 s \(its last answer is 14 s old\): 2 nodes were there: Node-2 is degraded on box-1, Node-3 is dead$/,
    );
    expect(graph.nodes.map((one) => isOn(one, dead!))).toEqual([false, true, true]);
    expect(graph.nodes.map((one) => stranded(one, deadHosts(graph)).length)).toEqual([0, 0, 1]);
    expect(isOn(graph.nodes[0]!, alive!)).toBe(true);
    expect(loss({ ...graph, frontend_host: "box-2" }, { ...dead!, nodes: ["Node-3"] }, AT)).toContain(
      "1 node and the graph's frontend were there: Node-3",
    );
    const empty = { ...graph, nodes: [], frontend_host: "" };
    expect(loss(empty, host("box-3", [], { dead: true, since: null }), AT)).toBe(
      "does not answer: no node of this graph was there",
    );
  });

  it("tell at most four of many nodes", () => {
    const names = Array.from({ length: 9 }, (_, at) => `Node-${at + 1}`);
    const nodes = names.map((_, at) => node(at + 1, { state: "recovering", pairs: [] }));
    const one = host("box-2", names, gone);
    const said = loss(view(nodes, { hosts: [one] }), one, AT);
    expect(said).toContain("9 nodes were there: Node-1 is recovering, Node-2");
    expect(said).toMatch(/Node-4 is recovering, …$/);
  });

  it("stand in the link", () => {
    const route = { view: "graph" as const, node: 0, dag: "", part: "", host: "tcp://box 2" };
    expect(read(write(route))).toEqual(route);
  });
});

describe("the view of a graph with hosts", () => {
  it("marks a dead host by colour, shape and word, and groups its nodes in one alarm", async () => {
    const { app, graph } = await shown(played());
    const bar = app.shadowRoot!.querySelector(".alarm.hosts")!;
    expect(plain(bar)).toMatch(
      /^Host box-2 does not answer since .* 2 nodes were there: Node-2 is degraded on box-1/,
    );
    expect(bar.querySelector("svg")).not.toBeNull();
    // Node-3 died of it: it is no alarm of its own.
    expect(app.shadowRoot!.querySelectorAll(".alarm.dead")).toHaveLength(1);
    const of = (index: number) => graph().shadowRoot!.querySelector(`.node[data-index="${index}"]`)!;
    expect(of(3).classList.contains("stranded")).toBe(true);
    expect(plain(of(3).querySelector(".hostless"))).toBe("host dead");
    expect(plain(of(3).querySelector(".pairs"))).toContain("primary box-2 dead");
    expect(of(3).querySelector(".pairs .gone svg.s-dead")).not.toBeNull();
    expect(of(1).classList.contains("stranded")).toBe(false);
    expect(plain(of(1).querySelector(".pairs"))).toBe("primary box-1");
    expect(plain(app.shadowRoot!.querySelector("header"))).toContain("on docker");
    expect(plain(app.shadowRoot!.querySelector("[aria-live]"))).toBe("");
  });

  it("says what is the matter with a host that answers all the same", async () => {
    const ill = host("box-2", ["Node-3"], { reason: "the Docker daemon does not answer; its pairs answer" });
    const { app, graph } = await shown(
      played({ hosts: [ill], nodes: [node(3, { pairs: [pair("box-2")] })], flows: [] }),
    );
    expect(plain(app.shadowRoot!.querySelector(".note.warn"))).toBe(
      "Host box-2: the Docker daemon does not answer; its pairs answer",
    );
    expect(app.shadowRoot!.querySelector(".alarm")).toBeNull();
    expect(graph().shadowRoot!.querySelector(".stranded")).toBeNull();
    expect(plain(app.shadowRoot!.querySelector("hogar-hosts")!.shadowRoot!.querySelector(".warn"))).toBe(
      "box-2 in trouble 1 node",
    );
  });

  it("says of a backup that its host is dead", async () => {
    const nodes = [
      node(1, { stateful: true, pairs: [pair("box-1"), pair("box-2", { role: "backup", state: "dead" })] }),
    ];
    const { graph } = await shown(played({ nodes, flows: [] }));
    expect(plain(graph().shadowRoot!.querySelector(".hostless"))).toBe("host of its backup dead");
  });

  it("shows the nodes of one host alone, and all again", async () => {
    const { app, graph } = await shown(played());
    const list = () => app.shadowRoot!.querySelector<HogarHosts>("hogar-hosts")!;
    const chip = (name: string) =>
      [...list().shadowRoot!.querySelectorAll("button")].find((one) => plain(one).includes(name))!;
    expect(plain(chip("box-2"))).toBe("box-2 dead for 12 s 2 nodes");
    expect(plain(chip("box-1"))).toBe("box-1 answers 2 nodes, frontend");
    const faded = () =>
      [...graph().shadowRoot!.querySelectorAll<HTMLElement>(".node.faded")].map((one) => one.dataset.index);
    expect(faded()).toEqual([]);
    app.shadowRoot!.querySelector<HTMLElement>(".alarm.hosts button")!.click();
    await until(() => faded().length > 0, "the others fade");
    expect(faded()).toEqual(["1"]);
    expect(location.hash).toBe("#hogar?host=box-2");
    expect(chip("box-2").getAttribute("aria-pressed")).toBe("true");
    chip("box-1").click();
    await until(() => faded().join() === "3", "those of the other host");
    chip("Show all nodes").click();
    await until(() => faded().length === 0, "all of them");
    expect(location.hash).toBe("#hogar");
  });

  it("tells a screen reader of a host that is gone, and that it is back", async () => {
    const alive = played({ hosts: [host("box-1", []), host("box-2", ["Node-3"])] });
    const { app } = await shown(alive);
    await until(() => PlayedStream.last !== null, "the stream");
    const said = () => plain(app.shadowRoot!.querySelector("[aria-live]"));
    PlayedStream.last!.send("graph", { ...alive, at: AT + 1 });
    await app.updateComplete;
    expect(said()).toBe("");
    PlayedStream.last!.send("graph", played({ at: AT + 2 }));
    await app.updateComplete;
    expect(said()).toMatch(/^Host box-2 does not answer since/);
    PlayedStream.last!.send("graph", { ...alive, at: AT + 3 });
    await app.updateComplete;
    expect(said()).toContain("Host box-2 answers again");
    expect(app.shadowRoot!.querySelector(".alarm.hosts")).toBeNull();
  });

  it("shows a hundred hosts when asked for them, the chosen one always", async () => {
    const hosts = Array.from({ length: 100 }, (_, at) => host(`box-${at}`, []));
    const list = await mount<HogarHosts>("hogar-hosts", {
      view: played({ hosts }),
      chosen: "box-70",
      now: AT,
    });
    const count = () => list.shadowRoot!.querySelectorAll("button[aria-pressed]").length;
    expect(count()).toBe(13);
    expect(text(list)).toContain("87 more");
    [...list.shadowRoot!.querySelectorAll<HTMLElement>("button.quiet")][0]!.click();
    await list.updateComplete;
    expect(count()).toBe(100);
  });

  it("shows nothing of hosts where there is the agent's own alone", async () => {
    const local = view([node(1), node(2, { state: "dead", reason: "killed" })], {
      engine: "local",
      hosts: [],
    });
    const { app, graph } = await shown(local);
    expect(app.shadowRoot!.querySelector("hogar-hosts")).toBeNull();
    expect(app.shadowRoot!.querySelector(".alarm.hosts")).toBeNull();
    expect(app.shadowRoot!.querySelector(".alarm.dead")).not.toBeNull();
    expect(graph().shadowRoot!.querySelector(".stranded, .hostless")).toBeNull();
    expect(plain(app.shadowRoot!.querySelector("header"))).not.toContain("on local");
  });
});

describe("the panel of a node", () => {
  it("says on which hosts its pairs are, and which of those does not answer", async () => {
    const { api } = fakeApi({});
    const stateful = node(2, {
      stateful: true,
      pairs: [pair("box-1"), pair("box-2", { role: "backup", state: "dead", reason: "gone" })],
    });
    const panel = await mount<HogarNodePanel>("hogar-node-panel", {
      api,
      dag: "Senti",
      node: stateful,
      hosts: played().hosts,
      section: "details",
    });
    const [primary, backup] = [...panel.shadowRoot!.querySelectorAll(".pair")];
    expect(cells(primary)).toEqual(["primary", "on box-1", "10.9.1.2:22223", "ready"]);
    expect(cells(backup)).toEqual(["backup", "on box-2 does not answer", "10.9.1.2:22223", "dead"]);
    expect(backup!.querySelectorAll("svg.s-dead")).toHaveLength(2);
    // Containers have no process that is of use here.
    const about = plain(panel.shadowRoot!.querySelector(".about"));
    expect(about).toContain("on box-2 · 10.9.1.2:22223gone");
    expect(about).not.toContain("proxy");
  });

  it("names processes where there are no hosts", async () => {
    const { api } = fakeApi({});
    const panel = await mount<HogarNodePanel>("hogar-node-panel", {
      api,
      dag: "S",
      node: node(1),
      section: "details",
    });
    expect(cells(panel.shadowRoot!.querySelector(".pair"))).toEqual(["primary", "10.0.0.4:7001", "ready"]);
    expect(plain(panel.shadowRoot!.querySelector(".about"))).toContain(
      "10.0.0.4:7001 · model 4001 · proxy 5001",
    );
  });
});

describe("all graphs", () => {
  const docker = { engine: "docker", hosts: 3 };
  const graphs = [
    summary("Local"),
    summary("Fine", { ...docker, dead_hosts: [] }),
    summary("Ill", { ...docker, dead_hosts: ["box-2"] }),
    summary("Worse", { ...docker, dead_hosts: ["box-1", "box-2"] }),
  ];

  it("stand with those first whose hosts are dead", async () => {
    const { api } = fakeApi({ "GET /graphs": { graphs, agent: null, message: "" } });
    const page = await mount<HTMLElement>("hogar-graphs", { api });
    await until(() => page.shadowRoot!.querySelectorAll("tbody tr").length === 4, "the graphs");
    const rows = [...page.shadowRoot!.querySelectorAll("tbody tr")].map(plain);
    expect(rows[0]).toMatch(/^Worse version 1 on docker .* box-1, box-2 of 3 dead/);
    expect(rows[1]).toMatch(/^Ill version 1 on docker .* box-2 of 3 dead/);
    expect(rows[3]).toMatch(/^Local version 1 ready/);
    expect(plain(page.shadowRoot!.querySelector("thead"))).toContain("Hosts");
  });

  it("count each dead host once on the card", async () => {
    const { api } = fakeApi({ "GET /graphs": { graphs, agent: null, message: "" } });
    const card = await mount<HTMLElement>("hogar-card", { api });
    await until(() => /4\s*graphs up/.test(text(card)), "the graphs");
    expect(text(card)).toMatch(/2\s*hosts dead/);
    expect(text(card)).toContain("Look at Ill, Worse");
  });

  it("tell nothing of hosts where no engine has any", async () => {
    const { api } = fakeApi({ "GET /graphs": { graphs: [summary("Local")], agent: null, message: "" } });
    const page = await mount<HTMLElement>("hogar-graphs", { api });
    const card = await mount<HTMLElement>("hogar-card", { api });
    await until(() => /1\s*graph up/.test(text(card)) && text(page).includes("Local"), "the graph");
    expect(text(page) + text(card)).not.toMatch(/hosts?\b/i);
  });
});
