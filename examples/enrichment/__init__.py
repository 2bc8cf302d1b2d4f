"""A backend that enriches a tenant's assets by six agents, and the plan that brings the pipeline to production."""
