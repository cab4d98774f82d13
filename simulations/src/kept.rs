//! `seeds.txt`: seeds that once said something, each with its reason.

use clap::ValueEnum;

use crate::options::{Layer, Options};
use crate::topology::Topology;

/// A line of the list that names no world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seeds.txt has a line that is not a seed, a shape or - or pipes, and a sentence: {0}")]
pub struct Unkept(String);

/// The worlds of the list, in its order. Most were kept for what they say without a cheat, and are played both ways.
///
/// # Errors
/// The first line that names no world.
pub fn kept() -> Result<Vec<Options>, Unkept> {
    let lines = include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let mut worlds = Vec::new();
    for line in lines {
        let options = world(line).ok_or_else(|| Unkept(line.to_owned()))?;
        let honest = options.clone().without_cheat();
        if honest != options {
            worlds.push(honest);
        }
        worlds.push(options);
    }
    Ok(worlds)
}

fn world(line: &str) -> Option<Options> {
    let mut words = line.splitn(3, ' ');
    let (seed, shape, why) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let (layer, topology) = match shape {
        "pipes" => (Layer::Pipes, None),
        "-" => (Layer::Quic, None),
        named => (Layer::Quic, Some(Topology::from_str(named, true).ok()?)),
    };
    why.ends_with('.').then(|| Options::over(layer, seed, topology))
}
