import { runPage } from "../api";
import { usePolled } from "../live";
import type { Run } from "../types";
import { RunChip } from "../ui/chip";
import { Layout } from "../ui/layout";
import { Table } from "../ui/table";
import { Age } from "../ui/time";

export function RunsPage() {
  const { value: runs, freshness } = usePolled<Run[]>("/api/v1/runs?limit=1000", 3);
  return (
    <Layout title="Runs" freshness={freshness}>
      {runs === null ? (
        <p class="empty">Loading…</p>
      ) : (
        <Table
          caption="Runs"
          rows={runs}
          keyOf={(run) => run.run}
          empty={
            <>
              No run yet: <code>rollout start plan.yaml</code> starts one.
            </>
          }
          columns={[
            { name: "Run", cell: (run) => <a href={runPage(run.run)}>{run.run}</a> },
            { name: "Stands", cell: (run) => <RunChip run={run} /> },
            { name: "Started", cell: (run) => <Age at={run.started} /> },
          ]}
        />
      )}
    </Layout>
  );
}
