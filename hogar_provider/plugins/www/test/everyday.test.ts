/** What a person meets who has the view open all day. */

import { afterEach, describe, expect, it, vi } from "vitest";
import "../src/app";
import { Api } from "../src/api";
import { alone } from "../src/chart";
import { bytes, ms, shortMs } from "../src/format";
import { place } from "../src/layout";
import type { Trace } from "../src/types";
import { batch, fakeApi, mount, node, PlayedStream, summary, text, until, view } from "./fixtures";

const base = "http://localhost/hogar/api/v1";

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

function press(element: HTMLElement, selector: string): void {
  (element.shadowRoot!.querySelector(selector) as HTMLElement).click();
}

function write(element: HTMLElement, selector: string, value: string): void {
  const field = element.shadowRoot!.querySelector(selector) as HTMLInputElement;
  field.value = value;
  field.dispatchEvent(new Event("input"));
}

describe("figures", () => {
  it("of about a minute read alike, and long ones fit into a node", () => {
    expect([ms(59_990), ms(60_020), ms(9999)]).toEqual(["60.0 s", "60.0 s", "10.0 s"]);
    expect([shortMs(48), shortMs(208_000), shortMs(7_200_000), shortMs(null)]).toEqual([
      "48 ms",
      "3.5 min",
      "2 h",
      "–",
    ]);
    expect(bytes(0)).toBe("0 MB");
  });

  it("that stand alone in a chart are points", () => {
    expect(alone([null, 3, null, 1, 2, null, 0])).toEqual([1, 6]);
    expect(alone([])).toEqual([]);
  });
});

describe("the layout", () => {
  it("has what was declared first at the top", () => {
    const nodes = [1, 2, 3, 4, 5].map((index) => node(index));
    const flows = [
      [1, 2],
      [2, 3],
      [2, 4],
      [3, 5],
      [4, 5],
    ].map(([source, target]) => ({
      source: source!,
      target: target!,
      kind: "distribute" as const,
      label: "",
      requests_per_second: 1,
    }));
    const { nodes: at, edges } = place(nodes, flows);
    expect(at.get(3)!.y).toBeLessThan(at.get(4)!.y);
    // The edges go where the nodes are.
    expect(edges[1]!.points.at(-1)!.y).toBeLessThan(edges[2]!.points.at(-1)!.y);
  });
});

describe("the address of a graph", () => {
  it("is copied with one click", async () => {
    vi.stubGlobal("EventSource", PlayedStream);
    const writeText = vi.fn(async () => {});
    vi.stubGlobal("navigator", { ...navigator, clipboard: { writeText } });
    fakeApi({ "GET /dags/Senti/graph": view(), "GET /dags/Senti/events": { events: [] } });
    const element = await mount<HTMLElement>("hogar-app", { apiBase: base, dagId: "Senti" });
    await until(() => element.shadowRoot!.querySelector("header .url") !== null, "the address");
    press(element, "header .url");
    await until(() => text(element).includes("Copied"), "that it is copied");
    expect(writeText).toHaveBeenCalledWith("http://127.0.0.1:18900");
  });
});

describe("the batch editor", () => {
  it("offers to reset what somebody has set, and nothing else", async () => {
    const reset = (element: HTMLElement) =>
      element.shadowRoot!.querySelector('button[type="button"]') as HTMLButtonElement;
    const api = new Api(base);
    const as = (part: Parameters<typeof batch>[0]) =>
      mount<HTMLElement>("hogar-batch-editor", { api, dag: "Senti", node: node(1, { batch: batch(part) }) });
    expect(reset(await as({ set_by: "config" })).disabled).toBe(true);
    expect(reset(await as({ set_by: "ann in Airflow" })).disabled).toBe(false);
    expect(reset(await as({ set_by: "config", limit: 8 })).disabled).toBe(false);
  });
});

describe("the card", () => {
  it("leads to all graphs, and to those in trouble", async () => {
    const graphs = [
      summary("Fine"),
      summary("Ill", { nodes_dead: 1 }),
      summary("A b", { nodes_dead: 1 }),
      summary("C", { nodes_dead: 2 }),
      summary("D", { nodes_dead: 1 }),
    ];
    const { api } = fakeApi({ "GET /graphs": { graphs, agent: null, message: "" } });
    const card = await mount<HTMLElement>("hogar-card", { api });
    await until(() => text(card).includes("Look at"), "whom to look at");
    const links = [...card.shadowRoot!.querySelectorAll("a")].map((link) => [
      link.textContent,
      new URL(link.href).pathname,
    ]);
    expect(links).toEqual([
      ["HOGAR", "/plugin/hogar_graphs"],
      ["Ill", "/dags/Ill/plugin/hogar"],
      ["A b", "/dags/A%20b/plugin/hogar"],
      ["C", "/dags/C/plugin/hogar"],
      ["1 more", "/plugin/hogar_graphs"],
    ]);
  });
});

describe("a task's node", () => {
  it("has a link to where it stands in the graph", async () => {
    vi.stubGlobal("EventSource", PlayedStream);
    fakeApi({ "GET /dags/Senti/graph": view(), "GET /dags/Senti/events": { events: [] } });
    const element = await mount<HTMLElement>("hogar-app", {
      apiBase: base,
      dagId: "Senti",
      taskId: "deploy.Node-2",
      place: "task",
    });
    await until(() => text(element).includes("Show it in the graph"), "the link");
    const link = element.shadowRoot!.querySelector(".open-graph a") as HTMLAnchorElement;
    expect(new URL(link.href).pathname + new URL(link.href).hash).toBe(
      "/dags/Senti/plugin/hogar#hogar?node=2",
    );
  });
});

describe("a recorded request", () => {
  it("that came to no node says so, and draws no empty scale", async () => {
    const trace: Trace = {
      request: 7,
      trace_id: "ab",
      at: 1000,
      duration_ms: 60_010,
      error: "the graph gave no reply within 60 s",
      hops: [],
    };
    const element = await mount<HTMLElement>("hogar-waterfall", { trace });
    expect(text(element)).toContain("the graph gave no reply within 60 s");
    expect(text(element)).toContain("No node has told of it");
    expect(element.shadowRoot!.querySelector(".scale")).toBeNull();
  });
});

describe("a test request", () => {
  const type = (element: HTMLElement) =>
    (element.shadowRoot!.querySelector('input[list="types"]') as HTMLInputElement).value;

  it("says what is missing, and takes JSON for JSON unless somebody says otherwise", async () => {
    const element = await mount<HTMLElement & { updateComplete: Promise<unknown> }>("hogar-send", {
      api: new Api(base),
      dag: "Senti",
      view: view(),
    });
    expect(text(element)).toContain("Choose a file or write a text first.");
    write(element, "textarea", ' {"a": 1}');
    await element.updateComplete;
    expect(type(element)).toBe("application/json");
    expect(text(element)).not.toContain("Choose a file");
    write(element, "textarea", "a kind word");
    await element.updateComplete;
    expect(type(element)).toBe("text/plain");
    write(element, 'input[list="types"]', "application/json");
    write(element, "textarea", "17");
    await element.updateComplete;
    expect(type(element)).toBe("application/json");
  });
});
