//! What is worth a person's attention.

use super::{Context, Ends, text};
use crate::api::doctor::Findings;

pub(super) async fn doctor(context: &Context) -> anyhow::Result<()> {
    let found = context.client().get::<Findings>("/api/v1/doctor").await?;
    let grave = found.body.findings.iter().any(|finding| finding.severity != "advice");
    if context.json {
        text::say_json(&found)?;
    } else if found.body.findings.is_empty() {
        text::say("nothing to mend");
    } else {
        for finding in &found.body.findings {
            text::say(&format!("{}: {}", finding.severity, finding.text));
            text::say(&format!("  {}", finding.hint));
        }
    }
    if grave { Err(Ends(3).into()) } else { Ok(()) }
}
