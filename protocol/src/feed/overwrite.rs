//! The fold where versions may be published in place: a register whose last writer wins, and a delete is one of its values.

use super::sorted::Sorted;
use super::{Left, Rules};
use crate::log::NamedOp;
use crate::op::{Delete, Publish};

/// What is left: of the sites that may write, the publish said last, unless a delete was said after it; of this site's own overlay likewise.
pub(super) fn left<'a>(sorted: &Sorted<'a>, rules: Rules<'_>) -> Left<'a> {
    let mut left = Left::default();
    left.blocks.extend(&sorted.blocks);
    let coordinate_blocked = !sorted.blocks.is_empty();
    for (local, list) in [(false, &sorted.authorised), (true, &sorted.local)] {
        let mut standing: Vec<(&NamedOp, &Publish)> = Vec::new();
        for (named, publish) in list {
            let blocks = sorted.blocks_of(publish, rules);
            let author = named.op.place.log.author;
            let after = |by: &NamedOp| (by.op.stamp, by.id) > (named.op.stamp, named.id);
            let wide = sorted.wide.iter().filter(|(by, _)| after(by));
            let own = sorted.own.iter().filter(|(by, _)| by.op.place.log.author == author && after(by));
            let removers: Vec<_> = wide.chain(own).map(|(by, _)| by.id).collect();
            let hides =
                |(by, hide): &&(&NamedOp, &Delete)| after(by) && (local || hide.saw.contains(&named.id));
            let hides = sorted.hides.iter().filter(hides).map(|(by, _)| by.id);
            let hides: Vec<_> = hides.filter(|by| !removers.contains(by)).collect();
            if coordinate_blocked || !blocks.is_empty() {
                left.blocks.extend(blocks);
            } else if hides.is_empty() && removers.is_empty() {
                standing.push((named, publish));
            } else {
                left.hidden |= removers.is_empty();
                left.deletes.extend(hides.into_iter().chain(removers));
            }
        }
        // Earlier values of the register are history, not a clash.
        standing.sort_by_key(|(named, _)| (named.op.stamp, named.id));
        let last = standing.pop();
        if local { left.local.extend(last) } else { left.authorised.extend(last) }
    }
    if left.authorised.is_empty() && left.local.is_empty() {
        left.deletes.extend(sorted.wide.iter().map(|(by, _)| by.id));
    }
    left
}
