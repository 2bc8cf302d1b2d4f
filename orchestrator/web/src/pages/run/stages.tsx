import type { Stage, Status } from "../../types";
import { Chip } from "../../ui/chip";

type StepState = "done" | "current" | "todo" | "left";

/** Where the run is on its way: stages and their steps, one environment after the other. */
export function Stages({ status }: { status: Status }) {
  if (status.stages.length === 0) return null;
  const environments = [...new Set(status.stages.map((stage) => stage.environment))];
  return (
    <section aria-labelledby="stages">
      <h2 id="stages">Stages</h2>
      {environments.map((environment) => (
        <div key={environment}>
          {environments.length > 1 && <h3>{environment}</h3>}
          <ol class="stages">
            {status.stages
              .filter((stage) => stage.environment === environment)
              .map((stage) => (
                <li key={stage.name} class={`stage ${stage.state}`}>
                  <div class="stagehead">
                    <b>{stage.name}</b> <span class="quiet">{stage.kind}</span> <Chip word={stage.state} />
                  </div>
                  <Steps stage={stage} status={status} />
                </li>
              ))}
          </ol>
        </div>
      ))}
    </section>
  );
}

function Steps({ stage, status }: { stage: Stage; status: Status }) {
  const isHere = stage.state === "current" && stage.environment === status.environment && stage.name === status.stage;
  const current = isHere ? stage.steps.indexOf(status.step ?? "") : -1;
  const stateOf = (index: number): StepState => {
    if (stage.state === "done") return "done";
    if (!isHere) return stage.state === "todo" ? "todo" : "left";
    if (index < current) return "done";
    return index === current ? "current" : "todo";
  };
  return (
    <ol class="steps">
      {stage.steps.map((step, index) => {
        const state = stateOf(index);
        return (
          <li key={`${step} ${index}`} class={state} aria-current={state === "current" ? "step" : undefined}>
            {step}
            <span class="hidden">, {state === "todo" ? "to come" : state}</span>
          </li>
        );
      })}
    </ol>
  );
}
