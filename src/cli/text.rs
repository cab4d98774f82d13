//! Plain text for people: aligned tables, sizes, ages, and the only places that print.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::api::{Answer, Schema};
use crate::keeper::wall_clock;

/// A line of the answer.
pub(super) fn say(line: &str) {
    if writeln!(std::io::stdout(), "{}", printable(line)).is_err() {
        // The reader is gone (`| head`): there is nobody left to tell.
        tracing::debug!("standard output is closed");
    }
}

/// What steers the terminal, of this program's own making.
pub(super) fn steer(sequence: &str) {
    if write!(std::io::stdout(), "{sequence}").is_err() {
        tracing::debug!("standard output is closed");
    }
}

/// A line of an explanation.
pub(super) fn say_error(line: &str) {
    if writeln!(std::io::stderr(), "{}", printable(line)).is_err() {
        tracing::debug!("standard error is closed");
    }
}

/// Text without what would steer the terminal: names and reasons come from other sites.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// A line that is neither the answer nor a failure.
pub(super) fn warn(line: &str) {
    say_error(&format!("warning: {line}"));
}

/// The answer as one JSON object.
pub(super) fn say_json<T: Schema + Serialize>(answer: &Answer<T>) -> anyhow::Result<()> {
    say(&serde_json::to_string(answer)?);
    Ok(())
}

/// A result that no answer of the API has: one JSON object, or a line for people.
pub(super) fn say_either(json: bool, object: &serde_json::Value, line: &str) {
    if json { say(&object.to_string()) } else { say(line) }
}

/// A table, or the sentence where it would be empty.
pub(super) fn table_or(empty: &str, head: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() { say(empty) } else { table(head, rows) }
}

/// Columns as wide as their widest cell, two spaces between.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(cells) {
            let pad = width.saturating_sub(cell.chars().count());
            line.push_str(cell);
            line.push_str(&" ".repeat(pad.saturating_add(2)));
        }
        line.trim_end().to_owned()
    };
    say(&line(&mut head.iter().copied()));
    for row in rows {
        say(&line(&mut row.iter().map(String::as_str)));
    }
}

/// Bytes in the unit that leaves one to four digits.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = UNITS.iter();
    let mut name = unit.next().copied().unwrap_or("B");
    let mut tenths = u128::from(bytes) * 10;
    for next in unit {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        name = next;
    }
    if name == "B" { format!("{bytes} B") } else { format!("{}.{} {name}", tenths / 10, tenths % 10) }
}

/// Milliseconds in words of one unit.
pub(super) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

/// How long ago a time was, or how long it is until then.
pub(super) fn ago(at_ms: u64) -> String {
    let now = wall_clock().0;
    if at_ms > now { format!("in {}", span(at_ms - now)) } else { format!("{} ago", span(now - at_ms)) }
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn bar(what: &str, of: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = of.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = if of.is_some() {
        "{msg} {bytes}/{total_bytes} {bar:30} {bytes_per_sec} {eta}"
    } else {
        "{spinner} {msg} {bytes} {bytes_per_sec}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_site_wrote_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{9b}"), "a\u{fffd}[2Jb\u{fffd}\nc\u{fffd}");
    }

    #[test]
    fn sizes_and_spans_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (ms, text) in
            [(5, "5 ms"), (1_500, "1.5 s"), (180_000, "3 min"), (7_200_000, "2 h"), (172_800_000, "2 days")]
        {
            assert_eq!(span(ms), text);
        }
    }
}
