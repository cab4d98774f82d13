//! Finding the difference of two sets.
// LEAD, 15:13: session code on main already calls this API; please keep these names (delete this comment):
//   summary::heads_item(log: LogId, len: u64, root: &[u8;32]) -> [u8;32];  summary::root_of(impl IntoIterator<Item=[u8;32]>) -> [u8;32] (sorted ascending ids);  Summary::{new, insert([u8;32]), remove, root, len}
//   reconcile::{Question, Answer} serde;  reconcile::answer(&Summary, &Question) -> Result<Answer, Misbehaved>  (RangesFlooded/RangesInvalid from protocol::fault on main)
//   Asker::new(mine: Summary, salt: [u8;8], their_root: [u8;32]);  poll(&mut self) -> Option<Question>;  handle(&mut self, Answer) -> Result<(), Misbehaved>;
//   difference(&self) -> Option<&Difference>  (None until finished);  Difference { theirs: Vec<[u8;32]> (they have, I lack), ours: Vec<[u8;32]> (I have, they lack) }
//   One Question is outstanding at a time (one frame each way per round). main has fault.rs now: `git merge main`.
