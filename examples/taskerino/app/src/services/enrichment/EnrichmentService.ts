import { EnrichmentResultCache } from "./EnrichmentResultCache"
import { ParallelEnrichmentQueue } from "./ParallelEnrichmentQueue"

export class EnrichmentService {
  enrich(name: string): string {
    return `summary of ${name}`
  }
}
