//! The lead has written transfer.rs on main (it was needed sooner): do not write it here; restore this line's file with `git checkout` before you commit. Finish summary.rs, then reconcile.rs.
