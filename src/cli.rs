//! The command line: what people type, turned into calls of the API and into text.

mod backup;
mod client;
mod doctor;
mod events;
mod evict;
mod feed;
mod forks;
mod holds;
mod key;
mod link;
mod local;
mod log;
mod merge;
mod pair;
mod plan;
mod ruling;
mod run;
mod space;
mod status;
mod text;
mod token;
mod verify;
mod webhook;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::api::Problem;
use clap::{Args, Parser, Subcommand};
use client::Client;
use protocol::limits::SESSIONS_MAX;

/// Replicates package feeds between sites.
///
/// Each site runs one node (`packetboat serve`); all other commands speak to the node of their data folder.
#[derive(Debug, Parser)]
#[command(name = "packetboat", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 behind, 4 conflict, 5 other site unreachable, \
    6 refused by permission, 7 bytes damaged.\n\nFirst steps:\n  packetboat demo\n  packetboat init --name \"New York\" && packetboat serve"
)]
struct Cli {
    /// The site's data folder.
    #[arg(long, global = true, env = "PACKETBOAT_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print one JSON object with a `schema` field instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Say more on standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Three real nodes in one process tell the whole story, then stay up
    ///
    /// They live in temporary folders, are linked with each other, publish, delete and cut a
    /// transfer, and say what happens. Ctrl-C ends them and takes the folders away.
    #[command(verbatim_doc_comment)]
    Demo {
        /// End after the story.
        #[arg(long)]
        exit: bool,
    },
    /// Make a data folder: key, configuration, empty store.
    Init {
        /// What people call this site.
        #[arg(long)]
        name: Option<String>,
    },
    /// Run this site's node until Ctrl-C; an empty data folder is made ready first
    ///
    /// Serves package clients over TCP, other sites over UDP, and the other commands over a
    /// socket in the data folder.
    #[command(verbatim_doc_comment)]
    Serve(local::Serve),
    /// Feeds of this site.
    #[command(subcommand)]
    Feed(feed::FeedCommand),
    /// Publish files as a version of a package
    ///
    /// All files are published together or none is. When the command returns the version is
    /// safe on this site's disk and on its way to other sites. The same bytes again change
    /// nothing; other bytes under the same version are refused.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:\n  packetboat publish tools hello 1.0 hello.tar.gz hello.sig")]
    Publish(feed::Publish),
    /// Delete a version everywhere this site may, else hide it here
    ///
    /// The deletion travels to other sites before any bytes do. The reason travels with it.
    #[command(verbatim_doc_comment)]
    Delete(feed::Delete),
    /// List a feed's versions.
    List {
        /// The feed's name.
        feed: String,
        /// How the package's name begins; a `*` at the end is allowed.
        pattern: Option<String>,
    },
    /// Fetch a version's files into a folder, verified.
    Get(feed::Get),
    /// Join two sites by a one-time ticket
    ///
    /// One site invites and prints a ticket, the other accepts it. Each then knows the other by
    /// its key, and both show the same four check words; if the words differ, somebody else
    /// used the ticket.
    #[command(verbatim_doc_comment)]
    #[command(subcommand)]
    Pair(pair::PairCommand),
    /// Links with other sites.
    #[command(subcommand)]
    Link(link::LinkCommand),
    /// Run links now and wait until they are done
    ///
    /// Ends with exit code 0 only where everything came: 3 where bytes are still missing, 5
    /// where the other site was not reached, 6 where it refused, 7 where what it sent does not
    /// fit its signatures or hashes.
    #[command(verbatim_doc_comment)]
    #[command(
        after_help = "Examples:\n  packetboat sync            all outgoing links\n  packetboat sync new-york   one link"
    )]
    Sync {
        /// The link's name; all outgoing links if not given.
        link: Option<String>,
        /// Only links that carry this feed.
        #[arg(long, conflicts_with = "dry_run")]
        feed: Option<String>,
        /// Also where the link's window is closed.
        #[arg(long)]
        outside_window: bool,
        /// Only ask the other site what a run would move.
        #[arg(long)]
        dry_run: bool,
    },
    /// How this site stands: feeds, links, lag, last and next runs
    ///
    /// Ends with exit code 3 where a link is behind or its last run was not done.
    #[command(verbatim_doc_comment)]
    Status(status::StatusArgs),
    /// What links did, newest first.
    Runs(run::RunsArgs),
    /// One run.
    #[command(subcommand)]
    Run(run::RunCommand),
    /// Why a version is, or is not, here
    ///
    /// Names the signed statements that have a say, who made them, and the rule that decides
    /// between them.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:\n  packetboat why tools/hello@1.0")]
    Why {
        /// FEED/NAME@VERSION
        what: String,
    },
    /// Drop a version's bytes here, and do not fetch them again until somebody asks for them
    ///
    /// The version stays published. Refused unless other sites say, just now, that they keep every
    /// byte of it.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:\n  packetboat evict tools hello 1.0")]
    Evict(evict::Evict),
    /// Drop what nothing needs and what lay in the trash long enough, and give the disk its room back
    ///
    /// The node does so itself each hour. The bytes of deleted versions stay in the trash first, as
    /// long as the setting `trash` says.
    #[command(verbatim_doc_comment)]
    Sweep(space::Sweep),
    /// The bytes of deleted versions: see them, take a deletion back, drop them now.
    #[command(subcommand)]
    Trash(space::TrashCommand),
    /// Fetch a version's bytes that were evicted here or have not come; exit code 3 where they do not come in time.
    Fetch(ruling::At),
    /// Who may write in a feed: see, give, take back.
    #[command(subcommand)]
    Rights(ruling::RightsCommand),
    /// The same as why, for what is not here.
    #[command(hide = true)]
    WhyNot {
        /// FEED/NAME@VERSION
        what: String,
    },
    /// Keep a version, or bytes under whatever version, from being served
    ///
    /// A block wins over every publish. Where this site has the right it counts at every site
    /// the op reaches, else at this one only. The bytes stay where they are, for a block can be
    /// lifted; delete the version to be rid of them.
    #[command(verbatim_doc_comment)]
    Block(ruling::Block),
    /// Lift a block.
    Unblock(ruling::Unblock),
    /// All blocks of a feed.
    Blocks {
        /// The feed's name.
        feed: String,
    },
    /// Offer a version as listed, unlisted, yanked or deprecated
    ///
    /// Clients that ask for exactly this version still get it.
    #[command(verbatim_doc_comment)]
    Offer(ruling::Offer),
    /// Set or show a package's tags.
    #[command(subcommand)]
    Tag(ruling::TagCommand),
    /// What is worth a person's attention: links, their shape, this site
    ///
    /// Side paths around one-way links, places where deletions stop, sites that all depends on,
    /// refused links, clocks that are off, damage. Exit code 3 where something needs mending.
    #[command(verbatim_doc_comment)]
    Doctor,
    /// What happened here that somebody may want to hear of, newest first
    ///
    /// Warnings and errors are kept over restarts, the rest while the node is up.
    #[command(verbatim_doc_comment)]
    #[command(
        after_help = "Examples:\n  packetboat events --severity warning\n  packetboat events --follow --link new-york"
    )]
    Events(events::Events),
    /// The signed statements this site holds, in the order in which they arrived, and what each does here.
    #[command(after_help = "Examples:\n  packetboat log --feed tools --limit 20\n  packetboat log --follow")]
    Log(log::Log),
    /// Show or change the level of the daemon's log lines; it goes back by itself.
    #[command(
        after_help = "Examples:\n  packetboat log-level debug --for 10m\n  packetboat log-level --reset"
    )]
    LogLevel(log::Level),
    /// Deletions that wait here, because one link would have taken more than a hundred versions and a tenth of a feed away within an hour;
    /// exit code 4 where some wait.
    Holds,
    /// Let deletions that wait take effect.
    Approve {
        /// The hold, as `holds` prints it.
        hold: String,
    },
    /// Authors that signed two histories of a log, as a copied or restored site does; exit code 4 where one is open
    ///
    /// Nothing more of such a log is taken in or passed on until the feed's origin says how far
    /// it counts.
    #[command(verbatim_doc_comment)]
    #[command(
        after_help = "Examples:\n  packetboat forks\n  packetboat forks resolve los-angeles --feed tools --reason 'restored from backup'"
    )]
    Forks(forks::ForksArgs),
    /// Versions of which sites published different bytes; exit code 4 where one is unresolved.
    Conflicts {
        /// Only this feed.
        #[arg(long)]
        feed: Option<String>,
    },
    /// Choose which build of a clash is served, at every site.
    Resolve(ruling::Resolve),
    /// Publish a version of one feed in another, with where it came from.
    Promote(ruling::Promote),
    /// Take this site's own build of a version back, so that what other sites publish shows.
    RevertLocal(ruling::At),
    /// Check every byte this site keeps
    ///
    /// Works with and without a running node. What is damaged counts as missing and is fetched
    /// again by the next runs, or now with --heal. Ends with exit code 7 where something is
    /// damaged and not healed.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Examples:\n  packetboat verify --heal\n  packetboat verify --deep")]
    Verify(verify::Verify),
    /// Copy this site into a folder while it serves, or what is new of it
    ///
    /// An earlier backup in the folder is brought up to date, and is whole until the new one
    /// is. Of packs that are damaged here it keeps what it has, names them and ends with exit
    /// code 7. With --check nothing is copied: every byte of the backup is read again, and the
    /// exit code is 7 where one is not as it was.
    #[command(verbatim_doc_comment)]
    #[command(
        after_help = "Examples:\n  packetboat backup /mnt/backup/la\n  packetboat backup /mnt/backup/la --check"
    )]
    Backup(backup::Backup),
    /// Make an empty data folder (--data) that of the site in a backup
    ///
    /// Every byte is checked on the way. The site then learns from its peers what it said after
    /// the backup was made, before it says anything new.
    #[command(verbatim_doc_comment)]
    #[command(
        after_help = "Example:\n  packetboat --data /srv/packetboat restore /mnt/backup/la --key site.key"
    )]
    Restore(backup::Restore),
    /// Let a restored or copied site write again though no peer told what it said
    ///
    /// Such a site writes nothing until a run with a peer brought back what it said. Where no
    /// peer is left, this lets it go on: in a later epoch of its log, which nothing it said
    /// before can contradict. What peers still have of it comes back when they are met.
    #[command(verbatim_doc_comment)]
    ResumeWriting {
        /// Only in this feed.
        #[arg(long)]
        feed: Option<String>,
    },
    /// Tokens of package clients and scripts
    ///
    /// A token is needed to publish over HTTP, and to read from feeds that were not made with
    /// --open-reads.
    #[command(verbatim_doc_comment)]
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Keys of sites that are let in no more.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// URLs that this site tells its events to
    ///
    /// Each message is signed after the Standard Webhooks specification, and repeated until the
    /// receiver takes it, for a day. It may arrive more than once, always with the same
    /// webhook-id.
    #[command(verbatim_doc_comment)]
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// This site's settings.
    #[command(subcommand)]
    Config(local::ConfigCommand),
}

/// What every command is given.
#[derive(Debug)]
struct Context {
    data: PathBuf,
    json: bool,
}

impl Context {
    fn client(&self) -> Client {
        Client::new(&self.data)
    }

    /// How the node of this data folder is started.
    fn serve_command(&self) -> String {
        if self.data == crate::config::default_data() {
            return "packetboat serve".to_owned();
        }
        format!("packetboat --data {} serve", self.data.display())
    }
}

/// Words on the command line that make no sense together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// The daemon or the other site told a problem.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .0.title.to_lowercase(), .0.detail)]
struct Told(Problem);

/// An ending that was told already and only has its exit code left.
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
struct Ends(u8);

/// How long threads that wait for a disk may still take when the program ends.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// Threads that may wait for a disk beside those of sessions: requests of people and clients.
const THREADS_BESIDE: usize = 512;

/// Runs the program and gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let serving = matches!(cli.command, Command::Serve(_));
    if !serving {
        logs(level);
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.enable_all().max_blocking_threads(SESSIONS_MAX + THREADS_BESIDE).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return explained(&anyhow::Error::new(error).context("the program cannot start"), cli.json);
        }
    };
    let data = cli.data.unwrap_or_else(crate::config::default_data);
    let json = cli.json;
    let context = Context { data, json };
    let ended = runtime.block_on(dispatch(cli.command, &context, level));
    // A thread that waits for a disk must not keep the program from ending: nothing it has not acknowledged is promised.
    runtime.shutdown_timeout(LINGER);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => explained(&error, json),
    }
}

/// Log lines go to standard error, as far as `filter` lets them.
fn logs(filter: &str) {
    if let Err(error) = crate::logs::start(filter) {
        text::warn(&format!("logs cannot be written: {error}"));
    }
}

async fn dispatch(command: Command, context: &Context, level: &str) -> anyhow::Result<()> {
    match command {
        Command::Demo { exit } => local::demo(context, exit).await,
        Command::Init { name } => local::init(context, name.as_deref()),
        Command::Serve(serve) => local::serve(context, serve, level).await,
        Command::Feed(command) => feed::feed(context, command).await,
        Command::Publish(publish) => feed::publish(context, publish).await,
        Command::Delete(delete) => feed::delete(context, delete).await,
        Command::List { feed, pattern } => feed::list(context, &feed, pattern.as_deref()).await,
        Command::Get(get) => feed::get(context, get).await,
        Command::Pair(command) => pair::pair(context, command).await,
        Command::Link(command) => link::link(context, command).await,
        Command::Sync { link, dry_run: true, .. } => plan::forecast(context, link.as_deref()).await,
        Command::Sync { link, feed, outside_window, dry_run: false } => {
            run::sync(context, link.as_deref(), feed.as_deref(), outside_window).await
        }
        Command::Status(args) => status::status(context, &args).await,
        Command::Runs(args) => run::runs(context, &args).await,
        Command::Run(command) => run::show(context, command).await,
        Command::Why { what } | Command::WhyNot { what } => feed::why(context, &what).await,
        Command::Verify(asked) => verify::verify(context, &asked).await,
        Command::Backup(asked) => backup::backup(context, asked).await,
        Command::ResumeWriting { feed } => backup::resume_writing(context, feed).await,
        Command::Restore(asked) => backup::restore(context, asked).await,
        Command::Events(events) => events::events(context, events).await,
        Command::Evict(evict) => evict::evict(context, evict).await,
        Command::Fetch(at) => evict::fetch(context, at).await,
        Command::Sweep(asked) => space::sweep(context, &asked).await,
        Command::Trash(command) => space::trash(context, command).await,
        Command::Doctor => doctor::doctor(context).await,
        Command::Log(asked) => log::log(context, asked).await,
        Command::LogLevel(asked) => log::level(context, asked).await,
        Command::Holds => holds::holds(context).await,
        Command::Approve { hold } => holds::approve(context, &hold).await,
        Command::Forks(args) => forks::forks(context, args).await,
        Command::Rights(command) => ruling::rights(context, command).await,
        Command::Block(block) => ruling::block(context, block).await,
        Command::Unblock(unblock) => ruling::unblock(context, unblock).await,
        Command::Blocks { feed } => ruling::blocks(context, &feed).await,
        Command::Offer(offer) => ruling::offer(context, offer).await,
        Command::Tag(command) => ruling::tag(context, command).await,
        Command::Conflicts { feed } => ruling::conflicts(context, feed.as_deref()).await,
        Command::Resolve(resolve) => ruling::resolve(context, resolve).await,
        Command::Promote(promote) => ruling::promote(context, promote).await,
        Command::RevertLocal(at) => ruling::revert_local(context, at).await,
        Command::Token(command) => token::token(context, command).await,
        Command::Key(command) => key::key(context, command).await,
        Command::Webhook(command) => webhook::webhook(context, command).await,
        Command::Config(command) => local::config(context, &command),
    }
}

/// Says what went wrong, what caused it and what to do, and gives the exit code.
fn explained(error: &anyhow::Error, json: bool) -> ExitCode {
    if let Some(Ends(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    let problem = error.downcast_ref().map(|Told(problem)| problem);
    let exit = match problem {
        Some(problem) => problem.exit_code(),
        None if error.downcast_ref::<Usage>().is_some() => 2,
        None => 1,
    };
    let hint = problem.and_then(|problem| problem.hint.as_deref());
    if json {
        let code = problem.map_or(if exit == 2 { "usage" } else { "failed" }, |problem| &problem.code);
        let detail = problem.map_or_else(|| error.to_string(), |problem| problem.detail.clone());
        let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
        let told = serde_json::json!({
            "schema": "packetboat.problem/1", "code": code, "detail": detail, "causes": causes,
            "hint": hint, "exit": exit,
        });
        text::say_error(&told.to_string());
        return ExitCode::from(exit);
    }
    text::say_error(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        text::say_error(&format!("caused by: {cause}"));
    }
    if let Some(hint) = hint {
        text::say_error(&format!("hint: {hint}"));
    }
    ExitCode::from(exit)
}

/// Milliseconds of a duration such as `90s`, `15m`, `24h` or `7d`.
fn duration_ms(text: &str) -> Result<u64, String> {
    let span: jiff::Span =
        text.parse().map_err(|_not_one| format!("{text:?} is no duration: use 90s, 15m, 24h or 7d"))?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let total = span.total((jiff::Unit::Millisecond, days)).map_err(|error| error.to_string())?;
    if total < 1.0 {
        return Err(format!("{text:?} is no time at all"));
    }
    u64::try_from(span.to_duration(days).map_err(|error| error.to_string())?.as_millis())
        .map_err(|error| error.to_string())
}

/// A name map of `--feed REMOTE=LOCAL`.
fn mapping(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').ok_or_else(|| format!("{text:?} is not REMOTE=LOCAL"))?;
    Ok((parts.0.to_owned(), parts.1.to_owned()))
}

/// A feed's name, for commands that take nothing else.
#[derive(Debug, Args)]
struct Name {
    /// As the list shows it.
    name: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration_ms("90s"), Ok(90_000));
        assert_eq!(duration_ms("15m"), Ok(900_000));
        assert_eq!(duration_ms("24h"), Ok(86_400_000));
        assert_eq!(duration_ms("7d"), Ok(604_800_000));
        for bad in ["", "15", "soon", "0s", "-5m"] {
            assert!(duration_ms(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_mapping_has_two_sides() {
        assert_eq!(mapping("a=b"), Ok(("a".to_owned(), "b".to_owned())));
        assert!(mapping("a").is_err());
    }
}
