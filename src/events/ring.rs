//! The newest events in memory, in order of their numbers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Recorded;

/// Events kept in memory: enough to resume from after a reader's short absence, at about a megabyte.
pub const EVENTS_IN_MEMORY_MAX: usize = 4096;

/// What a reader who knows everything up to a number is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// In order of number.
    pub events: Vec<Arc<Recorded>>,
    /// Every event after the reader's number is among them; else some were before this memory begins.
    pub whole: bool,
}

/// The newest events.
#[derive(Debug)]
pub struct Ring {
    held: VecDeque<Arc<Recorded>>,
    /// Every event from this number on is held.
    begins: u64,
}

impl Ring {
    /// An empty memory, whose first event has this number or a higher one.
    #[must_use]
    pub const fn new(begins: u64) -> Self {
        Self { held: VecDeque::new(), begins }
    }

    /// Takes in the next event; the oldest makes room.
    pub fn push(&mut self, event: Arc<Recorded>) {
        if self.held.len() >= EVENTS_IN_MEMORY_MAX
            && let Some(gone) = self.held.pop_front()
        {
            self.begins = gone.number.saturating_add(1);
        }
        self.held.push_back(event);
    }

    /// Every event from this number on is held.
    #[must_use]
    pub const fn begins(&self) -> u64 {
        self.begins
    }

    /// The events after a number.
    #[must_use]
    pub fn after(&self, number: u64) -> Backlog {
        let events = self.held.iter().filter(|event| event.number > number).cloned().collect();
        Backlog { events, whole: number.saturating_add(1) >= self.begins }
    }
}
