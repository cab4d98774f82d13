//! What can go wrong in a conversation and whose fault it is.
