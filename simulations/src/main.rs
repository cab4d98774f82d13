//! `cargo sim`: replays one seed with its trace, or runs many and stops at the first that breaks a promise.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Parser;
use simulations::decoders::{DECODERS, examples};
use simulations::kept::kept;
use simulations::lines::cross;
use simulations::many::{each, each_of, find, outlive};
use simulations::model::{CLOCKS, cell};
use simulations::options::{Kept, Layer, Options, numbers};
use simulations::plant::{Plant, SEEDS_MAX};
use simulations::shrink::shrink;
use simulations::topology::Topology;
use simulations::world::{Broken, Report, play};

/// Sites in virtual time: real store, real QUIC, one seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Replay this seed and print what happened.
    #[arg(long)]
    seed: Option<u64>,
    /// On this shape; else the seed names one.
    #[arg(long, value_enum)]
    topology: Option<Topology>,
    /// With these of its acts alone.
    #[arg(long)]
    acts: Option<String>,
    /// With these of its faults alone.
    #[arg(long)]
    faults: Option<String>,
    /// Run this many seeds, each twice, and compare their digests.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Run each seed once, and print no more than their number.
    #[arg(long)]
    once: bool,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run seeds once each for so long instead.
    #[arg(long)]
    minutes: Option<u64>,
    /// Tell what fails as it was found, and do not make it smaller.
    #[arg(long)]
    as_found: bool,
    /// Over plain streams instead of QUIC, in short runs.
    #[arg(long)]
    pipes: bool,
    /// Play the seeds of seeds.txt, which once failed, instead.
    #[arg(long)]
    kept: bool,
    /// Put each of the known bugs in, and see that each is found.
    #[arg(long)]
    plants: bool,
    /// Put this bug in.
    #[arg(long, value_enum)]
    plant: Option<Plant>,
    /// Play this many histories of the merge rules of each shape under each clock instead, and print the table.
    #[arg(long)]
    histories: Option<u64>,
    /// Fill this many lines of every kind with one connection each instead, and tell those on which it died.
    #[arg(long)]
    lines: Option<u64>,
    /// Write what each decoder accepts into this folder of corpora, where the fuzzer begins.
    #[arg(long)]
    examples: Option<PathBuf>,
}

impl Arguments {
    fn options(&self, seed: u64) -> Options {
        let layer = if self.pipes { Layer::Pipes } else { Layer::Quic };
        Options::over(layer, seed, self.topology)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    if let Some(histories) = arguments.histories {
        return table(&mut out, arguments.from, histories);
    }
    if let Some(lines) = arguments.lines {
        return fill(&mut out, arguments.from, lines);
    }
    if let Some(folder) = &arguments.examples {
        return write_examples(folder);
    }
    if arguments.kept {
        return recall(&mut out);
    }
    if arguments.plants {
        let plants = arguments.plant.map_or_else(|| Plant::all().to_vec(), |plant| vec![plant]);
        return dig(&mut out, &plants);
    }
    if let Some(seed) = arguments.seed {
        return replay(&mut out, seed, arguments);
    }
    if let Some(minutes) = arguments.minutes {
        return watch(&mut out, &arguments, minutes);
    }
    let end = arguments.from.saturating_add(arguments.seeds);
    if arguments.once {
        let played = each(arguments.from, end, |seed| outlive(arguments.options(seed)).map(drop), || false);
        let played = played.or_else(|(seed, broken)| fails(&mut out, &arguments, seed, broken))?;
        writeln!(out, "{} passed, 0 failed", played.len())?;
        return Ok(());
    }
    let twice = |seed| {
        let options = arguments.options(seed);
        let (report, again) = (play(options.clone())?, play(options.clone())?);
        Ok((line(&options, &report), report.digest.clone(), report == again))
    };
    let lines = each(arguments.from, end, twice, || false);
    let lines = lines.or_else(|(seed, broken)| fails(&mut out, &arguments, seed, broken))?;
    for (line, digest, same) in lines {
        writeln!(out, "{line}")?;
        anyhow::ensure!(same, "the seed of trace {digest} gave another one when it was played again");
    }
    writeln!(out, "{} passed, 0 failed", arguments.seeds)?;
    Ok(())
}

fn fill(out: &mut impl Write, from: u64, lines: u64) -> anyhow::Result<()> {
    let cross = |seed| Ok::<_, std::convert::Infallible>(cross(seed));
    let crossed = match each(from, from.saturating_add(lines), cross, || false) {
        Ok(crossed) => crossed,
        Err((_, never)) => match never {},
    };
    let mut died = 0_u64;
    for (seed, crossing) in (from..).zip(crossed) {
        died = died.saturating_add(u64::from(crossing.died || crossing.arrived < crossing.bytes));
        writeln!(out, "line {seed}: {crossing}")?;
    }
    writeln!(out, "{lines} lines, {died} on which the connection died or did not end")?;
    anyhow::ensure!(died == 0, "a connection died; replay it: cargo sim --lines 1 --from SEED");
    Ok(())
}

fn recall(out: &mut impl Write) -> anyhow::Result<()> {
    let worlds = kept()?;
    let played = each_of(&worlds, |world| outlive(world.clone()).map(drop));
    let played = played.map_err(|(world, broken)| {
        anyhow::Error::new(broken).context(format!("a world of seeds.txt breaks a promise again: {world}"))
    })?;
    writeln!(out, "{} worlds of kept seeds passed, 0 failed", played.len())?;
    Ok(())
}

/// Prints for each bug which check finds it, and at which seed.
fn dig(out: &mut impl Write, plants: &[Plant]) -> anyhow::Result<()> {
    let mut missed = Vec::new();
    writeln!(out, "| bug put in | found by | at seed | as |\n|---|---|---|---|")?;
    for plant in plants {
        let name = plant.name();
        match find(*plant) {
            Some(caught) => {
                writeln!(
                    out,
                    "| {name} | {} | {} | {} |",
                    caught.fault.check, caught.seed, caught.fault.what
                )?;
            }
            None => {
                writeln!(out, "| {name} | nothing | none of {SEEDS_MAX} | |")?;
                missed.push(name);
            }
        }
    }
    anyhow::ensure!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {}", missed.join(", "));
    writeln!(out, "{} bugs put in, all found", plants.len())?;
    Ok(())
}

fn write_examples(folder: &Path) -> anyhow::Result<()> {
    for (name, _) in DECODERS {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        for (index, example) in examples(name).iter().enumerate() {
            std::fs::write(folder.join(format!("example-{index}")), example)?;
        }
    }
    Ok(())
}

fn replay(out: &mut impl Write, seed: u64, arguments: Arguments) -> anyhow::Result<()> {
    let list = |list: &Option<String>| list.as_deref().map(numbers).transpose();
    let kept = Kept { faults: list(&arguments.faults)?, acts: list(&arguments.acts)? };
    let options = arguments.options(seed).only(&kept);
    let options = Options { plant: arguments.plant, ..options };
    writeln!(out, "{options}")?;
    let told = play(options.clone());
    let (lines, end) = match &told {
        Ok(report) => (&report.lines, line(&options, report)),
        Err(broken) => (&broken.lines, broken.to_string()),
    };
    for line in lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{end}")?;
    told.map(drop).map_err(anyhow::Error::new)
}

#[expect(clippy::disallowed_methods, reason = "how long a person lets this run is told by their clock")]
fn watch(out: &mut impl Write, arguments: &Arguments, minutes: u64) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    let over = || begun.elapsed().as_secs() >= minutes.saturating_mul(60);
    let once = |seed| play(arguments.options(seed)).map(drop);
    let played = each(arguments.from, u64::MAX, once, over);
    let played = played.or_else(|(seed, broken)| fails(out, arguments, seed, broken))?;
    writeln!(out, "{} seeds from {} on passed, 0 failed", played.len(), arguments.from)?;
    Ok(())
}

/// Makes a failure smaller and says how to see it again.
fn fails<T>(out: &mut impl Write, arguments: &Arguments, seed: u64, broken: Broken) -> anyhow::Result<T> {
    if arguments.as_found {
        return Err(anyhow::Error::new(broken));
    }
    writeln!(out, "{broken}\nmaking it smaller")?;
    let small = shrink(&arguments.options(seed), broken);
    writeln!(out, "{}", small.options)?;
    let topology = arguments.topology.map_or_else(String::new, |topology| {
        let name = clap::ValueEnum::to_possible_value(&topology);
        name.map_or_else(String::new, |name| format!(" --topology {}", name.get_name()))
    });
    let how = format!("{seed}{topology}{}", if arguments.pipes { " --pipes" } else { "" });
    let list = |kept: Option<Vec<usize>>| {
        kept.unwrap_or_default().iter().map(usize::to_string).collect::<Vec<_>>().join(",")
    };
    let (acts, faults) = (list(small.kept.acts), list(small.kept.faults));
    Err(anyhow::Error::new(small.broken).context(format!(
        "replay it: cargo sim --seed {how} --acts={acts} --faults={faults}; whole: cargo sim --seed {how}"
    )))
}

fn line(options: &Options, report: &Report) -> String {
    format!(
        "seed {} {:?}: trace {}, {} sites, {} ops everywhere {:.1} min after healing, {} runs, {} bytes of packages moved for {} \
         published, {} of {} datagrams lost, {} bits mended, {} clashes, {} sealed, \
         at most {} bytes waiting, {} held",
        options.seed,
        options.topology,
        report.digest,
        options.shape.sites(),
        report.facts,
        report.healed_in as f64 / 60e9,
        report.runs,
        report.content_bytes,
        report.published_bytes,
        report.passed.lost + report.passed.overflowed + report.passed.cut,
        report.passed.sent,
        report.flips,
        report.clashes,
        report.sealed,
        report.waiting_peak,
        report.held_peak
    )
}

/// The table of docs: each promise with how often it could have failed; a broken one ends the run.
fn table(out: &mut impl Write, from: u64, histories: u64) -> anyhow::Result<()> {
    writeln!(
        out,
        "{histories} histories each of pair, hub, chain, contributor and ring, seeds from {from}. In each column the times \
         it was put to the test; none failed.\n"
    )?;
    writeln!(
        out,
        "| clock | sites alike | deletes where said | deleted last, not served | row 20 | bytes under a seal | newest publish \
         suppressed, and told | clashes at rest |\n|---|---|---|---|---|---|---|---|"
    )?;
    for clock in CLOCKS {
        let told = cell(from, histories, clock)?;
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} of {} | {} |",
            clock.words(),
            told.compared,
            told.deletes,
            told.newest_deleted,
            told.row_20,
            told.sealed,
            told.suppressed,
            told.newest_published,
            told.clashes
        )?;
    }
    Ok(())
}
