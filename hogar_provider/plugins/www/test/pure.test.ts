import { describe, expect, it } from "vitest";
import { ApiError, apiBase } from "../src/api";
import { declaredWords } from "../src/batch-editor";
import { once } from "../src/events";
import { bytes, count, ms, rate, span } from "../src/format";
import { heat } from "../src/heat-map";
import { earg, plain } from "../src/highlight";
import { NodeHistory } from "../src/history";
import { NODE_WIDTH, place, shapeOf } from "../src/layout";
import { gist } from "../src/reason";
import { read, VIEWS, write } from "../src/route";
import { LOOKS, tally } from "../src/states";
import { fakeApi, node, sample } from "./fixtures";

describe("figures", () => {
  it("are short, and a dash where nothing is known", () => {
    expect([rate(null), rate(0), rate(0.04), rate(4.26), rate(41.7)]).toEqual([
      "–",
      "0",
      "<0.1",
      "4.3",
      "42",
    ]);
    expect([ms(0), ms(0.5), ms(9.94), ms(180), ms(2500), ms(125_000)]).toEqual([
      "0 ms",
      "0.50 ms",
      "9.9 ms",
      "180 ms",
      "2.50 s",
      "2 min 5 s",
    ]);
    expect([count(12), count(12_345), bytes(182_000_000)]).toEqual(["12", "12.3k", "182 MB"]);
    expect([span(-1), span(59), span(61), span(7300)]).toEqual(["0 s", "59 s", "1 min 1 s", "2 h 1 min"]);
  });
});

describe("links", () => {
  it("open what they were made for", () => {
    for (const name of VIEWS) {
      const route = { view: name, node: 7, dag: "a graph/ü", part: "log" };
      expect(read(write(route))).toEqual(route);
    }
  });
  it("of another kind open the graph", () => {
    const graph = { view: "graph", node: 0, dag: "", part: "" };
    expect(read("#something")).toEqual(graph);
    expect(read("#hogar?view=nonsense&node=-3")).toEqual(graph);
  });
});

describe("the API's address", () => {
  it("is beside the module, also below a base path", () => {
    expect(apiBase("https://host/hogar/static/hogar.js?v=1")).toBe("https://host/hogar/api/v1");
    expect(apiBase("https://host/air/flow/hogar/static/hogar.js")).toBe("https://host/air/flow/hogar/api/v1");
  });
});

describe("a refusal", () => {
  it("is the API's sentence", async () => {
    const { api } = fakeApi({
      "PUT /dags/a%20b/nodes/1/batching": Response.json(
        { error: { code: "invalid", message: "limit has to be at least 1." } },
        { status: 422 },
      ),
    });
    const refused = api.setBatching("a b", 1, { limit: 0 });
    await expect(refused).rejects.toThrowError(ApiError);
    await expect(refused).rejects.toMatchObject({
      status: 422,
      code: "invalid",
      message: "limit has to be at least 1.",
    });
  });
  it("without a sentence gets one that can be acted on", async () => {
    const { api } = fakeApi({
      "GET /graphs": new Response("<html>", { status: 502 }),
      "GET /dags/x/source": Response.json({}, { status: 401 }),
    });
    await expect(api.graphs()).rejects.toThrow("answered 502");
    await expect(api.source("x")).rejects.toThrow("signed out");
  });
});

describe("the layout", () => {
  const nodes = [1, 2, 3, 4].map((index) => node(index));
  const flow = (source: number, target: number) => ({
    source,
    target,
    kind: "distribute" as const,
    label: "",
    requests_per_second: 1,
  });
  it("goes from left to right", () => {
    const { nodes: at } = place(nodes, [flow(1, 2), flow(1, 3), flow(2, 4), flow(3, 4)]);
    expect(at.get(2)!.x).toBeGreaterThanOrEqual(at.get(1)!.x + NODE_WIDTH);
    expect(at.get(3)!.x).toBe(at.get(2)!.x);
    expect(at.get(4)!.x).toBeGreaterThan(at.get(2)!.x);
    expect(Math.abs(at.get(2)!.y - at.get(3)!.y)).toBeGreaterThan(100);
  });
  it("survives a flow to a node that is not there, and is the same for the same shape", () => {
    expect(place(nodes, [flow(1, 9)]).edges[0]!.points).toEqual([]);
    expect(shapeOf(nodes, [flow(1, 2)])).toBe(
      shapeOf([...nodes.map((n) => ({ ...n, queued: 9 }))], [flow(1, 2)]),
    );
  });
  it("of 200 nodes takes moments", () => {
    const many = Array.from({ length: 200 }, (_, k) => node(k + 1));
    const flows = many.slice(14).map((n) => flow(n.index - 14, n.index));
    const began = performance.now();
    expect(place(many, flows).nodes.size).toBe(200);
    expect(performance.now() - began).toBeLessThan(4000);
  });
});

describe("states", () => {
  it("each have a word and a shape of their own", () => {
    const shapes = Object.values(LOOKS).map((look) => look.shape.strings.join(""));
    expect(new Set(shapes).size).toBe(shapes.length);
    expect(new Set(Object.values(LOOKS).map((look) => look.word)).size).toBe(shapes.length);
  });
  it("are counted, the worst first", () => {
    const nodes = [node(1), node(2, { state: "dead" }), node(3), node(4, { state: "degraded" })];
    expect(tally(nodes)).toEqual([
      ["dead", 1],
      ["degraded", 1],
      ["ready", 2],
    ]);
  });
});

describe("the heat map", () => {
  it("gives each half minute its shares of batches by size, and not by the mean of a second", () => {
    const { sizes, cells } = heat(
      [871, 872, 899],
      [
        sample({ batches: 10, sizes: [10] }),
        sample({ batches: 10, sizes: [0, 0, 10] }),
        // In one second both ends: their mean is a size that no batch had.
        sample({ batches: 4, sizes: [2, 0, 0, 0, 0, 2] }),
      ],
      32,
      900,
    );
    expect(sizes).toEqual([1, 2, 4, 8, 16, 32]);
    const last = cells[cells.length - 1]!;
    expect(last.map((share) => Number(share.toFixed(2)))).toEqual([0.5, 0, 0.42, 0, 0, 0.08]);
  });
  it("has a row for what is larger than the limit, as before the limit was lowered", () => {
    const { sizes } = heat([899], [sample({ batches: 1, sizes: [0, 0, 0, 1] })], 2, 900);
    expect(sizes).toEqual([1, 2, 4, 8]);
  });
});

describe("a node's history", () => {
  it("is joined from pieces that overlap, and keeps what a restarted proxy has forgotten", () => {
    const { api } = fakeApi({});
    const history = new NodeHistory(api, "Senti", 1);
    const piece = (end: number, n: number, queued: number) => ({
      step: 1,
      end,
      samples: Array.from({ length: n }, () => sample({ queued })),
      queue: null,
      compute: null,
      total: null,
      batches: null,
    });
    history.merge(piece(1000, 10, 1));
    history.merge(piece(1004.2, 6, 2));
    expect(history.times).toEqual(Array.from({ length: 14 }, (_, k) => 991 + k));
    expect(history.column("queued")).toEqual([...Array(8).fill(1), ...Array(6).fill(2)]);
    history.merge(piece(2500, 900, 3));
    expect(history.times.length).toBe(900);
    expect(history.column("p95_ms").every((value) => value === 15)).toBe(true);
  });
  it("has no latency where nothing passed", () => {
    const { api } = fakeApi({});
    const history = new NodeHistory(api, "Senti", 1);
    history.merge({
      step: 1,
      end: 10,
      samples: [sample({ requests: 0, p95_ms: 0 })],
      queue: null,
      compute: null,
      total: null,
      batches: null,
    });
    expect(history.column("p95_ms")).toEqual([null]);
    expect(history.column("requests")).toEqual([0]);
  });
  it("joins what its processes used, also of a backup that came later", () => {
    const { api } = fakeApi({});
    const history = new NodeHistory(api, "Senti", 1);
    const piece = (end: number, times: number[], roles: string[]) =>
      history.merge({
        step: 1,
        end,
        samples: [],
        queue: null,
        compute: null,
        total: null,
        batches: null,
        usage: {
          times,
          series: roles.map((role) => ({
            kind: "model",
            role,
            cpu: times.map((at) => at / 10_000),
            memory: times.map(() => (role === "primary" ? 10 : 20)),
          })),
        },
      });
    piece(1001, [998, 1000], ["primary"]);
    piece(1005, [1000, 1002, 1004], ["backup", "primary"]);
    expect(history.usage.times).toEqual([998, 1000, 1002, 1004]);
    expect(history.usage.series.map(({ role, memory }) => [role, memory])).toEqual([
      ["primary", [10, 10, 10, 10]],
      ["backup", [null, 20, 20, 20]],
    ]);
    expect(history.usage.series[0]!.cpu).toEqual([0.0998, 0.1, 0.1002, 0.1004]);
    piece(1905, [1904], ["primary"]);
    expect(history.usage.times).toEqual([1904]);
    expect(history.usage.series[1]!.memory).toEqual([null]);
  });
});

describe("highlighting", () => {
  const source = "2\n1,A,1,a:v1,32,0\ndist[A;B]\nreduce[A,B;C]\n\n";
  it("loses no character", () => {
    for (const color of [earg, plain]) {
      expect(
        color(source)
          .map((line) => line.map((piece) => piece.text).join(""))
          .join("\n"),
      ).toBe(source);
    }
  });
  it("takes flows for flows and operators for operators", () => {
    const kinds = earg(source).map((line) => line.map((piece) => `${piece.kind}:${piece.text}`));
    expect(kinds[0]).toEqual(["value:2"]);
    expect(kinds[1]![0]).toBe("name:1");
    expect(kinds[2]).toEqual(["key:dist", "flow:[A;B]"]);
  });
});

describe("what is declared", () => {
  it("is said in words", () => {
    expect([declaredWords(0), declaredWords(8), declaredWords(-32)]).toEqual([
      "one call a request",
      "static, 8",
      "dynamic, at most 32",
    ]);
  });
});

describe("reasons", () => {
  it("are a sentence with the error of the traceback below it", () => {
    const text = 'the model ended with exit code 1\nTraceback:\n  File "m.py"\nKeyError: 3\n';
    expect(gist(text)).toBe("the model ended with exit code 1: KeyError: 3");
    expect(gist("was killed by SIGKILL")).toBe("was killed by SIGKILL");
    expect(gist("")).toBe("");
  });
});

describe("events", () => {
  const event = { number: 1, at: 100, node: "A", what: "was killed", before: "", after: "" };
  it("that told of a change of state in the same moment are one line", () => {
    const change = { ...event, number: 2, at: 100.2, before: "ready", after: "recovering" };
    const later = { ...event, number: 3, at: 160 };
    expect(once([event, change, later])).toEqual([change, later]);
    expect(once([event, { ...change, node: "B" }])).toHaveLength(2);
  });
});
