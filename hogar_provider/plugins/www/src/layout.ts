/** Where the nodes of a graph are drawn, left to right. */

import { Graph, layout } from "@dagrejs/dagre";
import type { FlowView, NodeView } from "./types";

export const NODE_WIDTH = 244;
export const NODE_HEIGHT = 140;
/** What is left free around the nodes. */
export const MARGIN = 24;

export interface Point {
  x: number;
  y: number;
}

export interface Layout {
  width: number;
  height: number;
  /** Top left corners, by index. */
  nodes: Map<number, Point>;
  /** In the order of the flows. */
  edges: { points: Point[]; label: Point }[];
}

/** What a layout depends on: the same text, the same layout. */
export function shapeOf(nodes: readonly NodeView[], flows: readonly FlowView[]): string {
  return `${nodes.map((n) => n.index).join()}|${flows.map((f) => `${f.source}>${f.target}`).join()}`;
}

export function place(nodes: readonly NodeView[], flows: readonly FlowView[]): Layout {
  const graph = new Graph({ multigraph: true });
  const many = nodes.length > 60;
  graph.setGraph({
    rankdir: "LR",
    nodesep: many ? 20 : 36,
    ranksep: many ? 170 : 104,
    edgesep: 14,
    marginx: MARGIN,
    marginy: MARGIN,
    ranker: many ? "longest-path" : "network-simplex",
  });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(String(node.index), { width: NODE_WIDTH, height: NODE_HEIGHT });
  const known = new Set(nodes.map((node) => node.index));
  flows.forEach((flow, at) => {
    if (known.has(flow.source) && known.has(flow.target)) {
      graph.setEdge(String(flow.source), String(flow.target), {}, String(at));
    }
  });
  layout(graph);
  const size = graph.graph() as { width?: number; height?: number };
  const placed = new Map<number, Point>();
  for (const node of nodes) {
    const box = graph.node(String(node.index)) as Point;
    placed.set(node.index, { x: box.x - NODE_WIDTH / 2, y: box.y - NODE_HEIGHT / 2 });
  }
  // Which side is up means nothing to dagre; a reader looks for what was declared first at the top.
  const mirrored = upsideDown(placed);
  const height = size.height || 0;
  if (mirrored) for (const at of placed.values()) at.y = height - at.y - NODE_HEIGHT;
  const edges = flows.map((flow, at) => {
    const edge = graph.edge(String(flow.source), String(flow.target), String(at)) as
      | { points: Point[] }
      | undefined;
    const from = placed.get(flow.source);
    const to = placed.get(flow.target);
    if (!edge || !from || !to) return { points: [], label: { x: 0, y: 0 } };
    // From the middle of one side to the middle of the other, by way of the bends between the ranks.
    const start = { x: from.x + NODE_WIDTH, y: from.y + NODE_HEIGHT / 2 };
    const end = { x: to.x, y: to.y + NODE_HEIGHT / 2 };
    const bends = edge.points
      .slice(1, -1)
      .filter((bend) => bend.x > start.x + 8 && bend.x < end.x - 8)
      .map((bend) => (mirrored ? { x: bend.x, y: height - bend.y } : bend));
    const points = [start, ...(bends.length > 1 ? bends : []), end];
    return { points, label: middle(points) };
  });
  return { width: size.width || 0, height: size.height || 0, nodes: placed, edges };
}

/** Whether more of the nodes that stand above each other do so against their order than in it. */
function upsideDown(placed: Map<number, Point>): boolean {
  const columns = new Map<number, [number, number][]>();
  for (const [index, { x, y }] of placed) {
    const column = columns.get(Math.round(x)) ?? [];
    column.push([index, y]);
    columns.set(Math.round(x), column);
  }
  let against = 0;
  for (const column of columns.values()) {
    column.sort(([a], [b]) => a - b);
    for (let k = 1; k < column.length; k++) against += Math.sign(column[k - 1]![1] - column[k]![1]);
  }
  return against > 0;
}

function middle(points: Point[]): Point {
  let length = 0;
  for (let i = 1; i < points.length; i++) length += distance(points[i - 1]!, points[i]!);
  let left = length / 2;
  for (let i = 1; i < points.length; i++) {
    const a = points[i - 1]!;
    const b = points[i]!;
    const step = distance(a, b);
    if (step >= left && step > 0) {
      return { x: a.x + ((b.x - a.x) * left) / step, y: a.y + ((b.y - a.y) * left) / step };
    }
    left -= step;
  }
  return points[0] ?? { x: 0, y: 0 };
}

function distance(a: Point, b: Point): number {
  return Math.hypot(b.x - a.x, b.y - a.y);
}

/** A smooth path through the points, level at both ends. */
export function curve(points: Point[]): string {
  if (points.length < 2) return "";
  let path = `M${n(points[0]!.x)} ${n(points[0]!.y)}`;
  for (let i = 1; i < points.length; i++) {
    const a = points[i - 1]!;
    const b = points[i]!;
    const bend = (b.x - a.x) / 2;
    path += `C${n(a.x + bend)} ${n(a.y)} ${n(b.x - bend)} ${n(b.y)} ${n(b.x)} ${n(b.y)}`;
  }
  return path;
}

function n(value: number): string {
  return value.toFixed(1);
}
