"""A desktop application enriches sessions in parallel and from caches: a plan, and what stands in for the app."""
