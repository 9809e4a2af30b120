import * as React from "react";
import { createRoot } from "react-dom/client";

type Props = Record<string, string | undefined>;

const host = globalThis as unknown as Record<string, unknown>;
host.React = React;
const root = document.getElementById("root")!;
const { name = "", dag, task, run } = root.dataset;
await import(/* @vite-ignore */ new URL("hogar/static/hogar.js", document.baseURI).href);
const component = host[name] as React.FunctionComponent<Props>;
createRoot(root).render(
  React.createElement(component, {
    dagId: dag || undefined,
    taskId: task || undefined,
    runId: run || undefined,
  }),
);
