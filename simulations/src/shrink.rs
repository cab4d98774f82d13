//! From a seed that fails to the least of it that still does: acts and faults are left out, as many at a time as will go.

use crate::options::{Kept, Options};
use crate::world::{Broken, play};

/// Runs spent on making one failure smaller.
const TRIES_MAX: usize = 120;

/// A failure that was made smaller.
#[derive(Debug)]
pub struct Small {
    pub kept: Kept,
    pub options: Options,
    pub broken: Broken,
    pub tries: usize,
}

/// Makes a failure smaller: what is left breaks the same promise.
#[must_use]
pub fn shrink(whole: &Options, broken: Broken) -> Small {
    let mut small = Small {
        kept: Kept {
            faults: Some((0..whole.faults.len()).collect()),
            acts: Some((0..whole.acts.len()).collect()),
        },
        options: whole.clone(),
        broken,
        tries: 0,
    };
    small.drop_some(whole, |kept| &mut kept.acts);
    small.drop_some(whole, |kept| &mut kept.faults);
    small.drop_some(whole, |kept| &mut kept.acts);
    small
}

impl Small {
    /// Leaves out halves, then quarters, down to single ones.
    fn drop_some(&mut self, whole: &Options, list: impl Fn(&mut Kept) -> &mut Option<Vec<usize>>) {
        let mut chunk = list(&mut self.kept).as_ref().map_or(0, Vec::len).div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < list(&mut self.kept).as_ref().map_or(0, Vec::len) {
                if self.tries >= TRIES_MAX {
                    return;
                }
                let mut kept = self.kept.clone();
                if let Some(list) = list(&mut kept) {
                    let end = (at + chunk).min(list.len());
                    list.drain(at..end);
                }
                self.tries += 1;
                let options = whole.clone().only(&kept);
                match play(options.clone()) {
                    Err(broken) if broken.fault.check == self.broken.fault.check => {
                        (self.kept, self.options, self.broken) = (kept, options, broken);
                    }
                    Ok(_) | Err(_) => at += chunk,
                }
            }
            chunk /= 2;
        }
    }
}
