//! Every frame there and back, and what is refused.
