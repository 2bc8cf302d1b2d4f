import "uplot/dist/uPlot.min.css";
import "./style.css";
import { type ComponentChildren, type ComponentType, Component, render } from "preact";
import { ApprovalsPage } from "./pages/approvals";
import { CheckPage } from "./pages/check";
import { FlagsPage } from "./pages/flags";
import { ReportPage } from "./pages/report";
import { RunPage } from "./pages/run/run";
import { RunsPage } from "./pages/runs";
import { Alert, Layout } from "./ui/layout";

/** What stands behind the addresses that the server serves the shell for; `name` is the run's, where there is one. */
const ROUTES: readonly [RegExp, ComponentType<{ name: string }>][] = [
  [/^\/$/, RunsPage],
  [/^\/runs\/([^/]+)$/, RunPage],
  [/^\/runs\/([^/]+)\/report$/, ReportPage],
  [/^\/approvals$/, ApprovalsPage],
  [/^\/flags$/, FlagsPage],
  [/^\/check$/, CheckPage],
];

function Nothing() {
  return (
    <Layout title="There is no such page">
      <p>
        <a href="/">All runs</a>
      </p>
    </Layout>
  );
}

function chosen(path: string) {
  for (const [pattern, Page] of ROUTES) {
    const found = pattern.exec(path);
    if (found !== null) return <Page name={decodeURIComponent(found[1] ?? "")} />;
  }
  return <Nothing />;
}

/** A fault of ours in one view leaves the way to all others, and says where the same can be read. */
class Boundary extends Component<{ children: ComponentChildren }, { fault: string }> {
  override state = { fault: "" };

  static override getDerivedStateFromError(error: unknown): { fault: string } {
    return { fault: String(error) };
  }

  override render() {
    if (this.state.fault === "") return this.props.children;
    return (
      <Layout title="This page broke">
        <Alert>{this.state.fault}</Alert>
        <p>
          <a href={location.pathname}>Load it again</a>. <code>rollout status</code> and <code>rollout rollback</code> do
          the same from a terminal.
        </p>
      </Layout>
    );
  }
}

const place = document.getElementById("page");
const isNewEnough = "any" in AbortSignal && CSS.supports("selector(:has(a))");
if (place !== null && isNewEnough) {
  place.replaceChildren(); // what the server wrote for those without a script
  render(<Boundary>{chosen(location.pathname)}</Boundary>, place);
}
