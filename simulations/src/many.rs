//! Many seeds at once: each worker plays the next one that nobody has taken, and the first failure by number ends all.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};

use crate::check::Fault;
use crate::options::{Layer, Options};
use crate::plant::{Plant, SEEDS_MAX};
use crate::world::{Broken, Report, play};

/// What each of the seeds from `from` on gives, until `to` is reached, the first fails, or there is `enough`. In order of the seeds.
///
/// # Errors
/// The first failure by number.
pub fn each<T: Send, E: Send>(
    from: u64,
    to: u64,
    work: impl Fn(u64) -> Result<T, E> + Sync,
    enough: impl Fn() -> bool + Sync,
) -> Result<Vec<T>, (u64, E)> {
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(u64::MAX));
    let worker = || {
        let mut told = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to || seed > failed.load(Ordering::Relaxed) || enough() {
                return told;
            }
            let found = work(seed);
            if found.is_err() {
                failed.fetch_min(seed, Ordering::Relaxed);
            }
            told.push((seed, found));
        }
    };
    let mut told: Vec<(u64, Result<T, E>)> = scope(|scope| {
        let workers = available_parallelism().map_or(1, NonZeroUsize::get);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker's panic is its seed's"))
            .collect()
    });
    told.sort_by_key(|(seed, _)| *seed);
    told.into_iter().map(|(seed, found)| found.map_err(|error| (seed, error))).collect()
}

/// What each of a list of worlds gives, in its order, until the first fails.
///
/// # Errors
/// The first world that failed, and how.
pub fn each_of<T: Send, E: Send>(
    worlds: &[Options],
    work: impl Fn(&Options) -> Result<T, E> + Sync,
) -> Result<Vec<T>, (&Options, E)> {
    let world = |at: u64| {
        usize::try_from(at).ok().and_then(|at| worlds.get(at)).expect("each number is that of a world")
    };
    let end = u64::try_from(worlds.len()).unwrap_or(u64::MAX);
    each(0, end, |at| work(world(at)), || false).map_err(|(at, error)| (world(at), error))
}

/// Where a bug was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caught {
    pub seed: u64,
    pub fault: Fault,
}

/// Plays a seed to its end. A program that stops by itself broke a promise, too.
///
/// # Errors
/// The promise that did not hold.
pub fn outlive(options: Options) -> Result<Report, Broken> {
    let seed = options.seed;
    catch_unwind(AssertUnwindSafe(|| play(options))).unwrap_or_else(|_panic| {
        let what = "an assertion of the site itself failed".to_owned();
        Err(Broken { seed, fault: Fault { check: "panic", what }, lines: Vec::new() })
    })
}

/// The first seed that finds a bug, if one does.
#[must_use]
pub fn find(plant: Plant) -> Option<Caught> {
    let play = |seed, plant| outlive(Options { plant, ..Options::over(Layer::Pipes, seed, None) });
    let found = each(0, SEEDS_MAX, |seed| play(seed, Some(plant)), || false).err();
    // What fails without the bug as well says nothing of it.
    let found = found.filter(|(seed, _)| play(*seed, None).is_ok());
    found.map(|(seed, broken)| Caught { seed, fault: broken.fault })
}
