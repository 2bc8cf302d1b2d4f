import { MemoizationCache } from "./MemoizationCache"

export class EnrichmentResultCache {
  private readonly parts = new MemoizationCache(10_000)
}
