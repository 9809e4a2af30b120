/** What the host loads: the custom element, and a component of the host's React for each place. */

import "./app";

type Props = { dagId?: string; runId?: string; taskId?: string; mapIndex?: string };
interface React {
  createElement(type: string, props: Record<string, unknown>): unknown;
}

/** The names under which the plugin registers its apps, and where each is shown. All are set at once:
 * Airflow loads no app whose component is there. */
export const PLACES = {
  "HOGAR graphs": "nav",
  "HOGAR graph": "dag",
  "HOGAR node": "task",
  HOGAR: "dashboard",
} as const;

const host = globalThis as unknown as Record<string, unknown> & { React: React };

for (const [name, place] of Object.entries(PLACES)) {
  const component = ({ dagId, taskId, runId }: Props) =>
    host.React.createElement("hogar-app", {
      place,
      "run-id": runId ?? "",
      "dag-id": dagId ?? "",
      "task-id": taskId ?? "",
      style: place === "dashboard" ? undefined : { height: "100%" },
    });
  host[name] = component;
}
