//! The verdict table, the names of the modes, and the page that tells them.

use super::*;

const PRESETS: [(&str, Switches); 4] = [
    ("off", Switches::OFF),
    ("pull", Switches::PULL),
    ("push", Switches::PUSH),
    ("mirror", Switches::MIRROR),
];

fn every_switches() -> Vec<Switches> {
    (0..16_u8)
        .map(|bits| Switches {
            in_add: bits & 1 > 0,
            in_delete: bits & 2 > 0,
            out_add: bits & 4 > 0,
            out_delete: bits & 8 > 0,
        })
        .collect()
}

/// [P-10] The twelve cells that users of the older tools know, and the row that is new.
#[test]
fn the_verdict_of_every_preset_pair_is_the_tables() {
    use Switches as S;
    let asks = [S::OFF, S::PULL, S::PUSH, S::MIRROR];
    for (listener, row) in [
        (S::OFF, ["-", "Invalid", "Invalid", "Invalid"]),
        (S::PUSH, ["-", "Valid", "Invalid", "Warning"]),
        (S::PULL, ["-", "Invalid", "Valid", "Warning"]),
        (S::MIRROR, ["-", "Valid", "Valid", "Valid"]),
    ] {
        assert_eq!(asks.map(|ask| Verdict::of(listener.flip(), ask).word()), row, "listener {listener}");
    }
}

#[test]
fn all_custom_pairs_fall_into_the_known_counts() {
    let mut counts = [0; 4];
    for allowed in every_switches() {
        for asked in every_switches() {
            let verdict = Verdict::of(allowed, asked);
            let slot = match verdict {
                Verdict::NothingAsked => 0,
                Verdict::Invalid(_) => 1,
                Verdict::Valid { .. } => 2,
                Verdict::Warning { .. } => 3,
            };
            counts[slot] += 1;
            let effective = verdict.effective();
            assert_eq!(effective, allowed.and(asked));
            assert_eq!(asked.without(effective).is_off(), matches!(slot, 0 | 2), "{allowed} {asked}");
        }
        assert_eq!(allowed.flip().flip(), allowed);
        assert_eq!(allowed.to_string().parse(), Ok(allowed));
    }
    assert_eq!(counts, [16, 65, 65, 110]);
}

#[test]
fn old_names_of_modes_are_understood() {
    for (text, meant) in [
        ("disabled", "off"),
        ("read-only", "pull"),
        ("pull-only", "pull"),
        ("push-only", "push"),
        ("read/write", "mirror"),
        ("Mirror External", "mirror"),
        ("mirror-external", "mirror"),
        ("pull-adds", "in.add"),
        ("push-adds", "out.add"),
        ("mirror-adds", "in.add,out.add"),
        (" in.add , in.delete ", "pull"),
        ("out.deletes-only,in.add", "in.add,out.deletes-only"),
        ("in.delete,in.deletes-only", "in.deletes-only"),
    ] {
        assert_eq!(text.parse::<Switches>().map(|mode| mode.to_string()), Ok(meant.to_owned()), "{text}");
    }
}

#[test]
fn deletes_without_adds_have_to_be_meant() {
    let said = |text: &str| text.parse::<Switches>().unwrap_err().to_string();
    assert_eq!(
        said("in.add,out.delete"),
        "mode \"in.add,out.delete\" lets deletes go out and adds not: name out.add too, or write out.deletes-only if that is meant"
    );
    assert!(said("in.delete").contains("in.deletes-only"));
    assert!(said("in.add,in.deletes-only").contains("leave one out"));
    for text in ["", "pul", "in.add,", "in.adds", "mirror,pull"] {
        assert!(said(text).starts_with("unknown mode"), "{text}");
    }
}

/// [P-10] What the page shows is what the code decides.
#[test]
fn the_page_of_permissions_has_the_matrix_of_the_code() {
    let page = include_str!("../../../docs/permissions.md");
    let mut matrix = String::from(
        "| what the listener lets the dialler do | off | pull | push | mirror |\n|---|---|---|---|---|\n",
    );
    for (name, allowed) in PRESETS {
        let row = PRESETS.map(|(_name, asked)| Verdict::of(allowed, asked).word());
        matrix.push_str(&format!("| {name} | {} |\n", row.join(" | ")));
    }
    assert!(page.contains(&matrix), "docs/permissions.md lacks this table:\n{matrix}");
}
