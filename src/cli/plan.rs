//! What would come of a link or a ticket, told before anything is saved.

use clap::Args;

use super::{Context, mapping, text};
use crate::api;
use crate::api::path::segment;
use crate::api::plan::{FeedForecast, Forecasts, Plan, PlanFeed, TicketPlan};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  packetboat link plan new-york --mode pull\n  packetboat link plan pb1… --feed tools=ny-tools"
)]
pub(super) struct PlanArgs {
    /// A link's name, or a ticket as `packetboat pair invite` printed it.
    what: String,
    /// As if the link had this mode: mirror, pull, push, or a list of switches.
    #[arg(long)]
    mode: Option<String>,
    /// With a ticket: another name here for a feed, REMOTE=LOCAL.
    #[arg(long = "feed", value_parser = mapping)]
    feeds: Vec<(String, String)>,
}

pub(super) async fn plan(context: &Context, args: PlanArgs) -> anyhow::Result<()> {
    let client = context.client();
    // A ticket is long and begins alike; a link's name that looks so would have to be typed on purpose.
    let is_ticket = args.what.trim().to_ascii_lowercase().starts_with("pb1") && args.what.len() > 60;
    let plan = if is_ticket {
        let asked = TicketPlan { ticket: args.what, mode: args.mode, feeds: args.feeds };
        client.post::<Plan>("/api/v1/pair/plan", &asked).await?
    } else {
        let query = args.mode.map_or_else(String::new, |mode| format!("?mode={}", segment(&mode)));
        client.get::<Plan>(&format!("/api/v1/links/{}/plan{query}", segment(&args.what))).await?
    };
    if context.json {
        return text::say_json(&plan);
    }
    show(&plan.body);
    Ok(())
}

fn show(plan: &Plan) {
    let stated = plan.stated_ms.map_or_else(String::new, |at| format!(", as it said {}", text::ago(at)));
    text::say(&format!("link {} with {} (site {}){stated}", plan.link, plan.peer_name, plan.peer));
    for note in &plan.notes {
        text::say(&format!("  note: {note}"));
    }
    for on in &plan.feeds {
        feed(on);
    }
    text::say("nothing was changed");
}

fn feed(on: &PlanFeed) {
    let named = if on.local == on.feed { String::new() } else { format!(", here {}", on.local) };
    let reason = on.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    text::say(&format!(
        "  feed {}{named} ({}): {}{reason}",
        on.feed,
        on.kind,
        on.verdict.as_deref().unwrap_or("not known yet")
    ));
    let said = |said: &Option<String>| said.clone().unwrap_or_else(|| "not said yet".to_owned());
    text::say(&format!(
        "    asked {}, allowed {}, in effect {}",
        said(&on.asked),
        said(&on.allowed),
        said(&on.effective)
    ));
    for sentence in &on.sentences {
        text::say(&format!("    {sentence}"));
    }
    if on.asked_filter != "everything" || on.allowed_filter != "everything" {
        text::say(&format!(
            "    filters: {} asked, {} allowed, {} in effect",
            on.asked_filter, on.allowed_filter, on.filter
        ));
    }
    if let Some(obstacle) = &on.obstacle {
        text::say(&format!("    in the way: {obstacle}"));
    }
}

/// What an invitation would offer.
pub(super) async fn preview(context: &Context, request: &api::InviteRequest) -> anyhow::Result<()> {
    let preview = context.client().post::<api::TicketPreview>("/api/v1/pair/preview", request).await?;
    if context.json {
        return text::say_json(&preview);
    }
    for feed in &preview.body.feeds {
        text::say(&feed.sentence);
    }
    text::say(&format!(
        "the ticket would lead to {} (UDP); none was made",
        preview.body.addresses.join(" or ")
    ));
    Ok(())
}

/// What the next run would move.
pub(super) async fn forecast(context: &Context, link: Option<&str>) -> anyhow::Result<()> {
    let query = link.map_or_else(String::new, |link| format!("?link={}", segment(link)));
    let told = context.client().get::<Forecasts>(&format!("/api/v1/forecast{query}")).await?;
    if context.json {
        return text::say_json(&told);
    }
    let ops = |ops: Option<u64>| ops.map_or_else(|| "unknown".to_owned(), |ops| ops.to_string());
    for link in &told.body.links {
        let row = |on: &FeedForecast| {
            let bytes = format!("{} blobs, {}", on.missing_blobs, text::size(on.missing_bytes));
            vec![on.feed.clone(), ops(on.ops_to_come), ops(on.ops_to_go), bytes]
        };
        let rows: Vec<_> = link.feeds.iter().map(row).collect();
        text::say(&format!("link {} with {}: a run would move", link.link, link.peer_name));
        text::table_or("no feeds", &["FEED", "OPS TO COME", "OPS TO GO", "BYTES KNOWN TO BE MISSING"], &rows);
    }
    text::say("nothing was moved");
    Ok(())
}
