//! Deletions that wait for a person.

use super::{Context, Ends, text};
use crate::api::holds::{Hold, Holds};
use crate::api::path::segment;

pub(super) async fn holds(context: &Context) -> anyhow::Result<()> {
    let holds = context.client().get::<Holds>("/api/v1/holds").await?;
    let waiting = !holds.body.holds.is_empty();
    if context.json {
        text::say_json(&holds)?;
    } else if waiting {
        for hold in &holds.body.holds {
            text::say(&format!(
                "{}: {} of {} versions of {} would vanish; came over link {} {}",
                hold.hold,
                hold.deletes,
                hold.standing,
                hold.feed,
                hold.link,
                text::ago(hold.since_ms)
            ));
            text::say(&format!("  {}", hold.names.join(", ")));
        }
        text::say("let them take effect with: packetboat approve HOLD");
    } else {
        text::say("no deletions wait");
    }
    if waiting { Err(Ends(4).into()) } else { Ok(()) }
}

pub(super) async fn approve(context: &Context, hold: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/holds/{}/approve", segment(hold));
    let approved = context.client().post::<Hold>(&path, &serde_json::json!({})).await?;
    if context.json {
        return text::say_json(&approved);
    }
    let Hold { deletes, feed, .. } = &approved.body;
    text::say(&format!("{deletes} deletions in {feed} take effect"));
    Ok(())
}
