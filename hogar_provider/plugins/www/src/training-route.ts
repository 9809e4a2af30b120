/** What of the trainings is shown, as a part of the page's fragment. */

export interface TrainingChoice {
  operator?: string;
  /** Absent: the newest run. */
  run?: string;
  /** Ids of figures; absent: what the function reported. */
  figures?: string[];
  /** Runs drawn for comparison; absent: the one before. */
  compare?: string[];
}

export function readChoice(query: URLSearchParams): TrainingChoice | undefined {
  const choice: TrainingChoice = {
    operator: query.get("operator") || undefined,
    run: query.get("run") || undefined,
    figures: query.has("figure") ? query.getAll("figure").filter(Boolean) : undefined,
    compare: query.has("with") ? query.getAll("with").filter(Boolean) : undefined,
  };
  return Object.values(choice).some((value) => value !== undefined) ? choice : undefined;
}

/** A list that is empty is told, too: nothing is compared then. */
export function writeChoice(query: URLSearchParams, choice: TrainingChoice): void {
  if (choice.operator) query.set("operator", choice.operator);
  if (choice.run) query.set("run", choice.run);
  const list = (name: string, values: string[] | undefined) => {
    for (const value of values?.length === 0 ? [""] : (values ?? [])) query.append(name, value);
  };
  list("figure", choice.figures);
  list("with", choice.compare);
}
