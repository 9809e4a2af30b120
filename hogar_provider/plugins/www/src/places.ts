/** Where things are in Airflow's own UI, to be linked to. */

import { write } from "./route";

/** The address of a page of Airflow, wherever it is mounted: its pages say so in their <base>. */
function page(path: string): string {
  return new URL(path, document.baseURI).href;
}

/** All graphs. */
export function graphsPage(): string {
  return page("plugin/hogar_graphs");
}

/** The DAG itself: its runs, its tasks. */
export function dagPage(dag: string): string {
  return page(`dags/${encodeURIComponent(dag)}`);
}

/** The DAG's graph, with one of its nodes open where `node` is its index. */
export function graphPage(dag: string, node = 0): string {
  return `${dagPage(dag)}/plugin/hogar${write({ dag: "", view: "graph", node, part: "" })}`;
}
