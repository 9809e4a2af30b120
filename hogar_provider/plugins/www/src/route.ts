/** What is shown, in the page's fragment: a link to it opens the same. */

import { readChoice, type TrainingChoice, writeChoice } from "./training-route";

export const VIEWS = ["graph", "batching", "training", "requests", "events", "source", "test"] as const;
export type ViewName = (typeof VIEWS)[number];

export interface Route {
  view: ViewName;
  /** Index of the open node, or 0. */
  node: number;
  /** The graph that is open on the page of all graphs. */
  dag: string;
  /** Part of the node panel. */
  part: string;
  /** The host whose nodes alone are shown. */
  host?: string;
  /** What of the trainings. */
  training?: TrainingChoice;
}

const NAMESPACE = "hogar";

export function read(fragment: string): Route {
  const text = fragment.replace(/^#/, "");
  const found = text === NAMESPACE || text.startsWith(`${NAMESPACE}?`);
  const query = new URLSearchParams(found ? text.slice(NAMESPACE.length + 1) : "");
  const view = query.get("view") as ViewName | null;
  const node = Number(query.get("node"));
  return {
    view: view && VIEWS.includes(view) ? view : "graph",
    node: Number.isInteger(node) && node > 0 ? node : 0,
    dag: query.get("dag") ?? "",
    part: query.get("part") ?? "",
    host: query.get("host") || undefined,
    training: readChoice(query),
  };
}

export function write(route: Route): string {
  const query = new URLSearchParams();
  if (route.dag) query.set("dag", route.dag);
  if (route.view !== "graph") query.set("view", route.view);
  if (route.node) query.set("node", String(route.node));
  if (route.host) query.set("host", route.host);
  if (route.node && route.part) query.set("part", route.part);
  if (route.view === "training" && route.training) writeChoice(query, route.training);
  const text = query.toString();
  return text ? `#${NAMESPACE}?${text}` : `#${NAMESPACE}`;
}
