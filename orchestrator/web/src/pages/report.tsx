import "./pages.css";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { read, runPage, runPath, sentenceOf } from "../api";
import type { Hold, Stage, Verdict, Waiting } from "../types";
import { Chip } from "../ui/chip";
import { Alert, Layout } from "../ui/layout";
import { type Column, Table } from "../ui/table";
import { duration, utc } from "../ui/time";

interface Decided {
  seq: number;
  time: string;
  of: string;
  criterion: string | null;
  verdict: Verdict | null;
  value: number | string | null;
  sentence: string | null;
}

interface Report {
  run: string;
  plan: string;
  digest: string;
  phase: string;
  outcome: string | null;
  started: string;
  ended: string | null;
  seconds: number | null;
  author: string | null;
  reason: string | null;
  supersedes: string | null;
  reverses: string | null;
  files: string[];
  stages: Stage[];
  percentages: Record<string, number>;
  holds: Hold[];
  waiting: Waiting[];
  timeline: { seq: number; time: string; what: string }[];
  evidence: Decided[];
  people: { seq: number; time: string; by: string; what: string; reason: string | null }[];
  exceptions: string[];
  success: { time: string; name: string; standing: string; detail: string | null }[];
  chain: { entries: number; head: string | null };
}

export function ReportPage({ name }: { name: string }) {
  const [report, setReport] = useState<Report | null>(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const ending = new AbortController();
    read<{ report: Report }>(runPath(name, "/report"), ending.signal)
      .then((found) => setReport(found.report))
      .catch((error: unknown) => ending.signal.aborted || setProblem(sentenceOf(error)));
    return () => ending.abort();
  }, [name]);
  return (
    <Layout title={`Report of ${report?.run ?? name}`}>
      {problem !== "" && <Alert>{problem}</Alert>}
      {report === null ? problem === "" && <p class="empty">Loading…</p> : <Whole report={report} />}
    </Layout>
  );
}

function Whole({ report }: { report: Report }) {
  return (
    <>
      <p class="actions no-print">
        <a class="button" href={runPage(report.run)}>
          The run as it is now
        </a>
        <button type="button" onClick={() => print()}>
          Print
        </button>
      </p>
      <Facts report={report} />
      <Section title="What is not as it was, or was cut" none="Nothing.">
        {report.exceptions.length > 0 && (
          <ul>
            {report.exceptions.map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
        )}
      </Section>
      {report.outcome === null && (
        <Section title="Why nothing moves" none="Nothing holds.">
          {report.holds.length > 0 && <Holds holds={report.holds} />}
        </Section>
      )}
      <Happened report={report} />
      <Success report={report} />
      <Planned stages={report.stages} />
      <p class="quiet">
        The journal has {report.chain.entries} entries; the hash of the last one, which stands for all of them, is{" "}
        <code>{report.chain.head ?? "not known here"}</code>. <code>rollout verify {report.run}</code> checks it.
      </p>
    </>
  );
}

function Facts({ report }: { report: Report }) {
  const exposure = Object.entries(report.percentages).map(([flag, percentage]) => `${flag} ${percentage} %`);
  const facts: [string, ComponentChildren][] = [
    ["Outcome", <Chip word={report.outcome ?? report.phase} />],
    ["Started", `${utc(report.started)} by ${report.author ?? "nobody known"}`],
    ["Ended", report.ended === null ? "not yet" : `${utc(report.ended)}, after ${duration(report.seconds ?? 0)}`],
    ["Reason", report.reason],
    ["Supersedes", report.supersedes],
    ["Takes back", report.reverses],
    ["Flags stand at", exposure.join(", ")],
    ["Files", report.files.join(", ")],
    ["Plan", report.plan],
    ["Digest", <code>{report.digest}</code>],
  ];
  return (
    <dl class="report-facts">
      {facts
        .filter(([, value]) => value)
        .map(([name, value]) => (
          <>
            <dt key={`${name} is`}>{name}</dt>
            <dd key={name}>{value}</dd>
          </>
        ))}
    </dl>
  );
}

function Section(props: { title: string; none: string; children: ComponentChildren }) {
  return (
    <section>
      <h2>{props.title}</h2>
      {props.children || <p class="quiet">{props.none}</p>}
    </section>
  );
}

function Holds({ holds }: { holds: readonly Hold[] }) {
  return (
    <ul>
      {holds.map((hold) => (
        <li key={`${hold.reason} ${hold.item ?? ""}`}>
          {hold.reason.replaceAll("_", " ")}
          {hold.detail !== null && `: ${hold.detail}`}
        </li>
      ))}
    </ul>
  );
}

const TIME = { name: "Time", share: 18, cell: (row: { time: string }) => <Time at={row.time} /> };

function Time({ at }: { at: string }) {
  return (
    <time dateTime={at} class="place">
      {utc(at)}
    </time>
  );
}

function Happened({ report }: { report: Report }) {
  const evidence: Column<Decided>[] = [
    TIME,
    { name: "Of", share: 15, cell: (one) => one.of },
    { name: "Criterion", share: 15, cell: (one) => one.criterion },
    { name: "Verdict", share: 14, cell: (one) => one.verdict !== null && <Chip word={one.verdict} /> },
    { name: "What was seen", share: 38, cell: (one) => one.sentence ?? one.value },
  ];
  return (
    <>
      <Listed title="What happened" rows={report.timeline} none="Nothing yet." columns={[
        TIME,
        { name: "What", share: 82, cell: (one) => one.what },
      ]} />
      <Listed title="The evidence of decisions" rows={report.evidence} none="No decision rested on evidence." columns={evidence} />
      <Listed title="Who did what" rows={report.people} none="Nobody had to do anything." columns={[
        TIME,
        { name: "Who", share: 17, cell: (one) => one.by },
        { name: "What", share: 37, cell: (one) => one.what },
        { name: "Reason", share: 28, cell: (one) => one.reason },
      ]} />
    </>
  );
}

function Listed<T>(props: { title: string; rows: readonly T[]; none: string; columns: readonly Column<T>[] }) {
  const numbered = props.rows.map((row, index) => ({ row, index }));
  const columns = props.columns.map((one) => ({ ...one, cell: (entry: { row: T }) => one.cell(entry.row) }));
  return (
    <section>
      <h2>{props.title}</h2>
      <Table
        caption={props.title}
        rows={numbered}
        keyOf={(entry) => String(entry.index)}
        empty={props.none}
        columns={columns}
      />
    </section>
  );
}

function Success({ report }: { report: Report }) {
  if (report.success.length === 0) return null;
  return (
    <Listed title="Success" rows={report.success} none="" columns={[
      TIME,
      { name: "Criterion", cell: (one) => one.name },
      { name: "Reached", cell: (one) => one.standing },
      { name: "Detail", cell: (one) => one.detail },
    ]} />
  );
}

function Planned({ stages }: { stages: readonly Stage[] }) {
  return (
    <Listed title="What was planned" rows={stages} none="No stages." columns={[
      { name: "Environment", cell: (one) => one.environment },
      { name: "Stage", cell: (one) => one.name },
      { name: "Kind", cell: (one) => one.kind },
      { name: "Steps", cell: (one) => one.steps.join(", ") },
      { name: "Now", cell: (one) => <Chip word={one.state} /> },
    ]} />
  );
}
