//! Figures of several sites add up, and a site's later word replaces its earlier one.

use super::*;
use crate::id::{FeedId, LogId};
use crate::op::{Op, Place, Statistics, Use};
use crate::package::FeedKind;
use crate::time::Hlc;

fn coordinate(name: &str) -> Coordinate {
    Coordinate::new(FeedKind::Raw, name, "1.0").unwrap()
}

fn told(site: u8, seq: u64, downloads: u64, last_ms: u64) -> NamedOp {
    let log = LogId { feed: FeedId([5; 32]), author: SiteId([site; 32]), epoch: 1 };
    let used = Use { coordinate: coordinate("tool"), downloads, last_used: Timestamp(last_ms) };
    let op = Op {
        place: Place { log, seq },
        stamp: Hlc(seq),
        body: Body::Statistics(Statistics { uses: vec![used] }),
    };
    NamedOp { id: op.id(), statement: op.encode_statement(), op }
}

/// R10: downloads are summed over sites, last use is the latest; arrival order and repetition change nothing.
#[test]
fn downloads_add_up_over_sites_and_the_newest_word_of_each_counts() {
    let ops = [told(1, 0, 5, 100), told(1, 1, 8, 300), told(2, 0, 2, 200)];
    let expected = Usage { downloads: 10, last_used: Some(Timestamp(300)) };
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut figures = Figures::default();
        for at in order.into_iter().chain(order) {
            figures.apply(&ops[at]);
        }
        assert_eq!(figures.usage(&coordinate("tool")), expected);
        assert_eq!(figures.usage(&coordinate("other")), Usage::default());
        assert_eq!(figures.told_by(SiteId([1; 32]), &coordinate("tool")), Some((8, Timestamp(300))));
    }
}
