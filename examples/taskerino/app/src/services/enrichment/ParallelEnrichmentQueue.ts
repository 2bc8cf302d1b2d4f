export class ParallelEnrichmentQueue {
  readonly workers = 5
}
