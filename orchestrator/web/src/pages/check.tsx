import "./pages.css";
import { useRef, useState } from "preact/hooks";
import { Refusal, send, sentenceOf } from "../api";
import { Chip, type Tone } from "../ui/chip";
import { sentence } from "../ui/commands";
import { Layout } from "../ui/layout";
import { hasRole } from "../ui/role";
import { Table } from "../ui/table";

/** One thing that is wrong, or that the plan's author should know. A line of 0: it has no place in the text. */
interface Found {
  file: string;
  line: number;
  column: number;
  path: string;
  message: string;
}

interface Finding {
  level: "error" | "warning" | "note";
  where: string;
  sentence: string;
}

interface Answer {
  plan: string;
  digest: string;
  environments: string[];
  warnings: Found[];
  findings?: Finding[];
}

interface Sent {
  text: string;
  variables: Record<string, string>;
  files: Record<string, string>;
}

type Result = { valid: Answer } | { problems: Found[] } | { why: string };

const TONES: Record<Finding["level"], Tone> = { error: "bad", warning: "warn", note: "quiet" };
const FILE = "plan.yaml";
const EXAMPLE = `apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: my-change}
spec:
  …`;

export function CheckPage() {
  const text = useRef<HTMLTextAreaElement>(null);
  const told = useRef<HTMLDivElement>(null);
  const [files, setFiles] = useState<Record<string, string>>({});
  const [variables, setVariables] = useState("");
  const [isAsking, setAsking] = useState(false);
  const [result, setResult] = useState<Result | null>(null);

  const ask = async (way: "validate" | "foresee"): Promise<void> => {
    setAsking(true);
    setResult(await answered(way, { text: text.current?.value ?? "", variables: valuesIn(variables), files }));
    setAsking(false);
    told.current?.scrollIntoView({ block: "nearest" });
  };
  const submit = (event: Event): void => {
    event.preventDefault();
    void ask("validate");
  };
  return (
    <Layout title="Check a plan">
      <p>Nothing is started, and nothing is changed.</p>
      <form onSubmit={submit}>
        <label class="field">
          The plan
          <textarea
            ref={text}
            class="plan-text"
            name="plan"
            rows={18}
            required
            spellcheck={false}
            autocomplete="off"
            placeholder={EXAMPLE}
          />
        </label>
        <FromFile onText={(content) => text.current !== null && (text.current.value = content)} />
        <More files={files} setFiles={setFiles} variables={variables} setVariables={setVariables} />
        <div class="actions">
          <button class="primary" disabled={isAsking}>
            {isAsking ? "Checking…" : "Check"}
          </button>
          {hasRole("operator") && (
            <button type="button" disabled={isAsking} onClick={() => void ask("foresee")}>
              Check, and ask the systems that it names
            </button>
          )}
        </div>
      </form>
      <div ref={told} role="status">{result !== null && !isAsking && <p class={toneOf(result)}>{summed(result)}</p>}</div>
      {result !== null && !isAsking && <Details result={result} jump={(found) => jump(text.current, found)} />}
    </Layout>
  );
}

async function answered(way: "validate" | "foresee", sent: Sent): Promise<Result> {
  try {
    return { valid: await send<Answer>("POST", `/api/v1/plans/${way}`, { file: FILE, ...sent }) };
  } catch (error) {
    if (error instanceof Refusal && error.kind === "InvalidPlan")
      return { problems: error.problems as unknown as Found[] };
    return { why: sentenceOf(error) };
  }
}

/** Of lines such as NAME=value. */
function valuesIn(lines: string): Record<string, string> {
  const pairs = lines.split("\n").map((line) => line.split(/=(.*)/s));
  return Object.fromEntries(pairs.map(([name, value]) => [name?.trim() ?? "", value ?? ""]).filter(([name]) => name));
}

function FromFile({ onText }: { onText: (text: string) => void }) {
  return (
    <label class="field">
      or from a file
      <input
        type="file"
        accept=".yaml,.yml,.json"
        onChange={(event) => {
          void event.currentTarget.files?.[0]?.text().then(onText);
        }}
      />
    </label>
  );
}

function More(props: {
  files: Record<string, string>;
  setFiles: (files: Record<string, string>) => void;
  variables: string;
  setVariables: (text: string) => void;
}) {
  const add = async (chosen: FileList | null): Promise<void> => {
    const read = await Promise.all([...(chosen ?? [])].map(async (file) => [file.name, await file.text()] as const));
    props.setFiles({ ...props.files, ...Object.fromEntries(read) });
  };
  const rename = (before: string, after: string): void => {
    props.setFiles(Object.fromEntries(Object.entries(props.files).map(([n, t]) => [n === before ? after : n, t])));
  };
  return (
    <details class="more">
      <summary>Files and variables that it needs</summary>
      <label class="field">
        Files that the plan names: SQL, manifests, commands
        <input type="file" multiple onChange={(event) => void add(event.currentTarget.files)} />
      </label>
      {Object.keys(props.files).map((name, index) => (
        <label class="field" key={index}>
          Path of file {index + 1}, as the plan writes it
          <input value={name} onChange={(event) => rename(name, event.currentTarget.value)} />
        </label>
      ))}
      <label class="field">
        Values of {"${NAME}"}, each on a line: NAME=value
        <textarea
          rows={3}
          name="variables"
          spellcheck={false}
          value={props.variables}
          onInput={(event) => props.setVariables(event.currentTarget.value)}
        />
      </label>
    </details>
  );
}

// --- what was found ---------------------------------------------------------------------------------------------------

const things = (count: number): string => (count === 1 ? "One thing is" : `${count} things are`);

function toneOf(result: Result): string {
  if ("why" in result || "problems" in result) return "banner bad";
  return result.valid.findings?.some((one) => one.level === "error") ? "banner warn" : "banner good";
}

function summed(result: Result): string {
  if ("why" in result) return result.why;
  if ("problems" in result) return `${things(result.problems.length)} wrong with the plan.`;
  const { valid } = result;
  const errors = valid.findings?.filter((one) => one.level === "error").length ?? 0;
  const words = `Plan ${valid.plan} is valid for ${valid.environments.join(", ")}.`;
  return errors > 0 ? `${words} But ${things(errors).toLowerCase()} not as it needs.` : words;
}

function Details({ result, jump }: { result: Result; jump: (found: Found) => void }) {
  if ("why" in result) return null;
  if ("problems" in result) return <Places title="What is wrong" found={result.problems} jump={jump} />;
  const { warnings, findings, digest } = result.valid;
  return (
    <>
      {warnings.length > 0 && <Places title="Warnings" found={warnings} jump={jump} />}
      {findings !== undefined && <Findings findings={findings} />}
      <p class="quiet">
        Digest <code>{digest}</code>
      </p>
    </>
  );
}

function Places({ title, found, jump }: { title: string; found: readonly Found[]; jump: (found: Found) => void }) {
  const numbered = found.map((one, index) => ({ one, index }));
  return (
    <section>
      <h2>{title}</h2>
      <Table
        caption={title}
        rows={numbered}
        keyOf={({ index }) => String(index)}
        empty="Nothing."
        columns={[
          { name: "Place", cell: ({ one }) => <Place found={one} jump={jump} /> },
          { name: "Field", cell: ({ one }) => <code>{one.path || "–"}</code> },
          { name: "What", cell: ({ one }) => sentence(one.message) },
        ]}
      />
    </section>
  );
}

function Place({ found, jump }: { found: Found; jump: (found: Found) => void }) {
  if (found.line === 0) return <>{found.file}</>;
  if (found.file !== FILE) return <>{`${found.file}, line ${found.line}, column ${found.column}`}</>;
  return (
    <button type="button" class="small place" onClick={() => jump(found)}>
      line {found.line}, column {found.column}
    </button>
  );
}

/** Puts the cursor where something is wrong, with the rest of the line chosen. */
function jump(text: HTMLTextAreaElement | null, found: Found): void {
  if (text === null) return;
  const lines = text.value.split("\n");
  const before = lines.slice(0, found.line - 1).reduce((sum, line) => sum + line.length + 1, 0);
  const end = before + (lines[found.line - 1]?.length ?? 0);
  text.focus();
  text.setSelectionRange(Math.min(before + found.column - 1, end), end);
  text.scrollTop = (text.scrollHeight / Math.max(lines.length, 1)) * Math.max(found.line - 4, 0);
}

function Findings({ findings }: { findings: readonly Finding[] }) {
  return (
    <section>
      <h2>What it would meet, and what its gates can see</h2>
      {findings.length === 0 && <p class="quiet">Nothing to tell.</p>}
      <ul class="findings">
        {findings.map((one) => (
          <li key={`${one.where} ${one.sentence}`}>
            <span>
              <Chip word={one.level} tone={TONES[one.level]} />
            </span>
            <span>
              <strong>{one.where}</strong>: {one.sentence}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
