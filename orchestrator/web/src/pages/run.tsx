import { runPath } from "../api";
import { usePolled } from "../live";
import type { Status } from "../types";
import { RunChip } from "../ui/chip";
import { Layout } from "../ui/layout";

export function RunPage({ name }: { name: string }) {
  const { value: run, freshness } = usePolled<Status>(runPath(name), 3);
  return (
    <Layout title={run?.run ?? name} freshness={freshness}>
      {run === null ? <p class="empty">Loading…</p> : <RunChip run={run} />}
    </Layout>
  );
}
