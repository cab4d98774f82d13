//! `cargo sim`: replays one seed with its trace, or runs many and stops at the first that breaks a promise.

use std::io::Write;

use clap::Parser;
use simulations::model::{CLOCKS, cell};
use simulations::world::{Broken, Faults, Report, three_sites};

/// Three sites in virtual time: real store, real QUIC, one seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Replay this seed and print what happened.
    #[arg(long)]
    seed: Option<u64>,
    /// Run this many seeds, each twice, and compare their digests.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Play this many histories of the merge rules under each clock instead, and print the table.
    #[arg(long)]
    histories: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    if let Some(histories) = arguments.histories {
        return table(&mut out, arguments.from, histories);
    }
    if let Some(seed) = arguments.seed {
        let told = three_sites(seed, &Faults::default());
        let (lines, end) = match &told {
            Ok(report) => (&report.lines, line(seed, report)),
            Err(broken) => (&broken.lines, broken.to_string()),
        };
        for line in lines {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "{end}")?;
        return told.map(drop).map_err(anyhow::Error::new);
    }
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        let report = three_sites(seed, &Faults::default()).map_err(replay)?;
        let again = three_sites(seed, &Faults::default()).map_err(replay)?;
        anyhow::ensure!(
            report == again,
            "seed {seed} gave two traces: {} and {}",
            report.digest,
            again.digest
        );
        writeln!(out, "{}", line(seed, &report))?;
    }
    writeln!(out, "{} passed, 0 failed", arguments.seeds)?;
    Ok(())
}

fn replay(broken: Broken) -> anyhow::Error {
    let seed = broken.seed;
    anyhow::Error::new(broken).context(format!("replay it: cargo sim --seed {seed}"))
}

fn line(seed: u64, report: &Report) -> String {
    format!(
        "seed {seed}: trace {}, {} packages everywhere {:.1} s after healing, {} runs, {} bytes of packages moved for {} published, {} of {} datagrams lost",
        report.digest,
        report.packages,
        report.healed_in as f64 / 1e9,
        report.runs,
        report.content_bytes,
        report.published_bytes,
        report.passed.lost + report.passed.overflowed + report.passed.cut,
        report.passed.sent
    )
}

/// The table of docs: each promise with how often it could have failed; a broken one ends the run.
fn table(out: &mut impl Write, from: u64, histories: u64) -> anyhow::Result<()> {
    writeln!(
        out,
        "{histories} histories a clock, seeds from {from}: pair, hub, chain, contributor and ring in turn. In each column the times \
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
