//! The node: one store, one endpoint, its links and feeds, and what the API and the gateways ask of them.
