//! The code itself: where things live, what may import what, and what the documents promise. One test a rule, one sentence a fault.

/// What the documents promise: cited rules, the wire's hash, the commands of the README.
mod documents;
/// What a file imports.
mod imports;
/// Which file may name which library, and words that may stand nowhere.
mod names;
/// The pages people read.
mod pages;
/// The room tables and the imports they allow.
mod rooms;
/// File names, sizes and places.
mod shape;
/// The tree as text.
mod tree;

/// Fails with every fault on a line of its own.
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}\n", faults.len(), faults.join("\n"));
}
