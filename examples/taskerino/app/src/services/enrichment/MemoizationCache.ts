export class MemoizationCache {
  constructor(readonly size: number) {}
}
