//! Two feeds that both have content become one: this site publishes in the other feed what its own one serves, with where it came from.
//!
//! Every step can be done again: names are settled from a record, and a version that is there with the same bytes is not said twice.

use std::collections::BTreeSet;
use std::sync::RwLockReadGuard;

use data_encoding::HEXLOWER;
use protocol::feed::{Item, Standing};
use protocol::grant::Verb;
use protocol::id::{BlobId, FeedId, LogId, OpId};
use protocol::limits::{LABEL_BYTES_MAX, OPS_FRAME_BYTES_TARGET};
use protocol::manifest::Manifest;
use protocol::op::{Body, Offer, Provenance, Publish, SetRef, SetState};
use protocol::package::Coordinate;
use protocol::reference::references;

use super::Node;
use super::feeds::{label, named};
use super::problem::usage;
use crate::api::Problem;
use crate::api::merge::{MergeRequest, Merging};
use crate::keeper::{AuthorError, SiteStore, wall_clock};
use crate::publish::{blocked_bytes, counts_elsewhere};
use crate::store::{BlobState, FeedRecord, Merge};

/// Bytes of ops said with one signature: one sync of the disk for all of them, and together they fit a frame.
const AT_ONCE_BYTES: usize = OPS_FRAME_BYTES_TARGET;

/// About how many bytes an op takes beside the names of its files.
const ABOUT_BYTES: usize = 256;
/// Refs said with one signature: well below what a frame may hold.
const REFS_AT_ONCE: usize = 1000;

/// Versions looked at in a row while bytes are kept from being dropped, where nothing is to be said of them: sweeps wait as long.
const LOOKS_AT_ONCE: usize = 256;

/// Clashes that are named.
const NAMED_MAX: usize = 20;

/// What follows the old feed's name.
const BEFORE: &str = "-before-merge";

/// A name that no feed here has.
fn free_name(site: &SiteStore, wanted: &str) -> Result<String, Problem> {
    let mut cut = wanted.len().min(LABEL_BYTES_MAX - BEFORE.len() - 4);
    while !wanted.is_char_boundary(cut) {
        cut -= 1;
    }
    let base = format!("{}{BEFORE}", wanted.get(..cut).unwrap_or_default());
    let mut name = base.clone();
    let mut n = 2;
    while site.store().feed_named(&name)?.is_some() {
        name = format!("{base}-{n}");
        n += 1;
    }
    Ok(name)
}

/// Gives the old feed another name, and its own to the feed it is merged into.
pub(super) fn settle_names(site: &SiteStore, merge: &Merge) -> Result<(), Problem> {
    let store = site.store();
    if let Some(mut old) = store.feed(merge.old)?
        && old.name == merge.name
    {
        old.name = free_name(site, &merge.name)?;
        store.put_feed(&old)?;
    }
    let into = merge.into.feed_id();
    let held = store.feed(into)?;
    if held.as_ref().is_some_and(|held| held.name == merge.name) || store.feed_named(&merge.name)?.is_some() {
        return Ok(());
    }
    let record = held.unwrap_or_else(|| FeedRecord {
        genesis: merge.into.clone(),
        name: String::new(),
        strict: false,
        local_wins: false,
        open_reads: false,
    });
    store.put_feed(&FeedRecord { name: merge.name.clone(), ..record })?;
    Ok(())
}

/// How one version of the old feed stands to the other feed.
enum Against {
    Fresh,
    Same,
    Clash,
    Deleted,
}

fn against(site: &SiteStore, into: FeedId, at: &Coordinate, manifest: &Manifest) -> Result<Against, Problem> {
    let look = site.look();
    let facts = site.store().facts(into, &at.name, &at.version)?;
    let same = |body: &Body| matches!(body, Body::Publish(held) if held.manifest.same_bytes(manifest));
    let authority = site.store().authority(into)?;
    // What was said here before this site had rights is there for nobody else.
    let at_home =
        |log: LogId| authority.as_ref().is_some_and(|authority| authority.stayed_home(log, look.now));
    let is_there = facts.iter().any(|named| same(&named.op.body) && !at_home(named.op.place.log));
    let item = site.store().item(into, &at.name, &at.version, look)?;
    // Published there it would be served nowhere.
    if !is_there && blocked_bytes(site, into, manifest)?.is_some() {
        return Ok(Against::Deleted);
    }
    Ok(match item.map(|item| item.standing) {
        Some(Standing::Deleted | Standing::Suppressed | Standing::Hidden | Standing::Blocked) => {
            Against::Deleted
        }
        Some(_) | None if is_there => Against::Same,
        Some(Standing::Served) => Against::Clash,
        Some(Standing::Held | Standing::Parked | Standing::NotAuthorised | Standing::Absent) | None => {
            Against::Fresh
        }
    })
}

/// What a version of the old feed is made of, where its bytes are all here.
fn whole(site: &SiteStore, item: &Item) -> Result<Option<(OpId, Manifest, bool)>, Problem> {
    let Some(winner) = item.winner.filter(|_| item.standing == Standing::Served) else { return Ok(None) };
    let Some(Body::Publish(held)) = site.store().op(winner)?.map(|named| named.op.body) else {
        return Ok(None);
    };
    let mut complete = true;
    for file in &held.manifest.files {
        complete = complete && matches!(site.store().blob_state(file.blob)?, BlobState::Complete { .. });
    }
    Ok(Some((winner, held.manifest, complete)))
}

/// Refs of a package that the other feed has not got.
fn refs(site: &SiteStore, from: FeedId, into: FeedId, package: &str) -> Result<Vec<Body>, Problem> {
    let look = site.look();
    let of = |feed: FeedId| -> Result<_, Problem> {
        let (ops, ledger) = (site.store().ref_ops(feed, package)?, site.store().ledger(feed)?);
        Ok(ledger.map_or_else(Vec::new, |ledger| references(&ops, &ledger, look.me, look.now)))
    };
    let held = of(into)?;
    let lacking = of(from)?.into_iter().filter(|one| !held.iter().any(|held| held.name == one.name));
    let body = |one: protocol::reference::Reference| {
        Body::SetRef(SetRef { package: package.to_owned(), name: one.name, target: Some(one.target) })
    };
    Ok(lacking.map(body).collect())
}

impl Merging {
    /// Counts a version; whether it is to be published.
    fn counted(&mut self, against: &Against, complete: bool, at: &Coordinate) -> bool {
        match against {
            Against::Same => self.same += 1,
            Against::Deleted => self.deleted += 1,
            Against::Fresh | Against::Clash if !complete => self.pending += 1,
            Against::Fresh => self.fresh += 1,
            Against::Clash => {
                self.clashes += 1;
                if self.clashing.len() < NAMED_MAX {
                    self.clashing.push(format!("{}@{}", at.name, at.version));
                }
            }
        }
        self.versions += 1;
        complete && matches!(against, Against::Fresh | Against::Clash)
    }
}

/// What is said in the other feed with one signature, from the first look at its bytes on: until it is said no bytes are dropped.
struct Saying<'a> {
    site: &'a SiteStore,
    into: FeedId,
    dry: bool,
    bodies: Vec<Body>,
    bytes: usize,
    looks: usize,
    kept: Option<RwLockReadGuard<'a, ()>>,
    /// What the feed's quota has room for beside the blobs that are counted already.
    room: Option<u64>,
    counted: BTreeSet<BlobId>,
}

impl<'a> Saying<'a> {
    fn new(site: &'a SiteStore, into: FeedId, dry: bool) -> Result<Self, Problem> {
        let (bodies, counted) = (Vec::new(), BTreeSet::new());
        let mut saying =
            Self { site, into, dry, bodies, bytes: 0, looks: 0, kept: None, room: None, counted };
        saying.measure()?;
        Ok(saying)
    }

    fn measure(&mut self) -> Result<(), Problem> {
        let store = self.site.store();
        self.counted.clear();
        self.room = match store.quota(self.into)? {
            Some(quota) => Some(quota.saturating_sub(store.bytes_held(self.into)?)),
            None => None,
        };
        Ok(())
    }

    /// Comes before a look at bytes.
    fn keep(&mut self) -> Result<(), Problem> {
        self.looks += 1;
        if self.bodies.is_empty() && self.looks.is_multiple_of(LOOKS_AT_ONCE) {
            self.kept = None;
        }
        if self.kept.is_none() && !self.dry {
            // First durable, then looked at: what a failed sync took back is then seen to be missing.
            self.site.store().sync()?;
            self.kept = Some(self.site.store().naming());
        }
        Ok(())
    }

    /// Whether the other feed's quota has room for a version. If it has, that is taken.
    fn takes(&mut self, manifest: &Manifest) -> Result<bool, Problem> {
        let Some(room) = self.room else { return Ok(true) };
        let new = manifest.files.iter().filter(|file| !self.counted.contains(&file.blob));
        let new: Vec<(BlobId, u64)> = new.map(|file| (file.blob, file.size)).collect();
        let added = self.site.store().room_needed(self.into, new.iter().copied())?;
        let Some(rest) = room.checked_sub(added) else { return Ok(false) };
        self.room = Some(rest);
        self.counted.extend(new.into_iter().map(|(blob, _)| blob));
        Ok(true)
    }

    fn say(&mut self) -> Result<(), Problem> {
        self.bytes = 0;
        let bodies = std::mem::take(&mut self.bodies);
        if !self.dry && !bodies.is_empty() {
            self.site.author(self.into, bodies)?;
            self.measure()?;
        }
        self.kept = None;
        Ok(())
    }
}

/// Brings what the old feed serves into the other one, or only tells what would come of it. `first`: its refs too, which are not set again
/// where somebody has taken them away since.
fn bring(site: &SiteStore, from: FeedId, into: FeedId, dry: bool, first: bool) -> Result<Merging, Problem> {
    let mut told = Merging { done: !dry, ..Merging::default() };
    let mut packages: Vec<String> = Vec::new();
    let mut saying = Saying::new(site, into, dry)?;
    site.store().each_item(from, site.look(), |at, item| {
        saying.keep()?;
        // It is said once its stamp is due, and its package's tags are set now.
        if item.standing == Standing::Parked {
            told.pending += 1;
            if packages.last() != Some(&at.name) {
                packages.push(at.name.clone());
            }
        }
        let Some((op, manifest, complete)) = whole(site, &item)? else { return Ok::<_, Problem>(()) };
        if packages.last() != Some(&at.name) {
            packages.push(at.name.clone());
        }
        let against = against(site, into, &at, &manifest)?;
        let is_new = matches!(against, Against::Fresh | Against::Clash);
        let comes = complete && (!is_new || saying.takes(&manifest)?);
        if !told.counted(&against, comes, &at) {
            return Ok(());
        }
        saying.bytes +=
            ABOUT_BYTES + manifest.files.iter().map(|file| file.name.len() + ABOUT_BYTES).sum::<usize>();
        let provenance = Some(Provenance { feed: from, op });
        let (coordinate, supersedes) = (at.clone(), Vec::new());
        saying.bodies.push(Body::Publish(Publish { coordinate, manifest, supersedes, provenance }));
        if item.offer != Offer::Listed {
            saying.bodies.push(Body::SetState(SetState { coordinate: at, offer: item.offer }));
        }
        if saying.bytes > AT_ONCE_BYTES { saying.say() } else { Ok(()) }
    })?;
    for package in packages.iter().filter(|_| !dry && first) {
        for body in refs(site, from, into, package)? {
            saying.bodies.push(body);
            if saying.bodies.len() >= REFS_AT_ONCE {
                saying.say()?;
            }
        }
    }
    saying.say()?;
    let authority = site.store().authority(into)?;
    told.local = !authority.is_some_and(|authority| {
        counts_elsewhere(&authority, (into, site.look().now), site.me(), Verb::Publish, "")
    });
    (told.from, told.into) = (label(site, from)?, label(site, into)?);
    Ok(told)
}

fn ops_of(site: &SiteStore, feed: FeedId) -> Result<u64, Problem> {
    Ok(site.store().heads(feed)?.iter().map(|signed| signed.head.len).sum())
}

/// Whether the other feed's ops are here, as far as they will come.
fn is_ready(site: &SiteStore, merge: &Merge) -> Result<bool, Problem> {
    let Some(name) = &merge.link else { return Ok(true) };
    let Some(link) = site.store().link(name)? else { return Ok(true) };
    let flows_in = link.switches(merge.into.feed_id()).is_some_and(protocol::switches::Switches::flows_in);
    let in_as_of = site.store().peer(name)?.in_as_of;
    Ok(!flows_in || in_as_of.is_some_and(|at| at >= merge.since))
}

/// Takes a merge as far as it goes. What it brought, where there was anything to do.
fn go_on(site: &SiteStore, merge: &Merge) -> Result<Option<Merging>, Problem> {
    settle_names(site, merge)?;
    let ops = ops_of(site, merge.old)?;
    // What waits to be deleted is not said anew meanwhile.
    let waits = !site.store().open_holds(Some(merge.old))?.is_empty();
    if waits || merge.brought_ops == Some(ops) || !is_ready(site, merge)? {
        return Ok(None);
    }
    let told = bring(site, merge.old, merge.into.feed_id(), false, merge.brought_ops.is_none())?;
    // What is pending is brought later, and refs that somebody takes away in the meantime are not set again with it.
    let brought = if told.pending == 0 { ops } else { 0 };
    if merge.brought_ops != Some(brought) {
        site.store().put_merge(&Merge { brought_ops: Some(brought), ..merge.clone() })?;
    }
    Ok(Some(told))
}

/// What merges that wait for a link's first run will come to, in words.
pub(super) fn waiting(site: &SiteStore, link: &str) -> Result<Vec<String>, Problem> {
    let mut notes = Vec::new();
    for merge in site.store().merges()?.iter().filter(|merge| merge.link.as_deref() == Some(link)) {
        if merge.brought_ops.is_some() {
            continue;
        }
        let told = bring(site, merge.old, merge.into.feed_id(), true, true)?;
        let mut note = format!(
            "{} of {} versions of {} will be published in {} after the next run; {} are there with the same bytes, {} clash",
            told.fresh, told.versions, told.from, told.into, told.same, told.clashes
        );
        if !told.clashing.is_empty() {
            note = format!("{note}: {}", told.clashing.join(", "));
        }
        notes.push(note);
    }
    Ok(notes)
}

impl Node {
    /// Merges a feed into another: the other one gets its name and what it serves, and it stays readable under another name.
    ///
    /// # Errors
    /// A feed is unknown, the two are the same or of different kinds, the other one takes no local changes, or the disk refuses.
    pub async fn merge_feed(&self, feed: &str, asked: MergeRequest) -> Result<Merging, Problem> {
        let feed = feed.to_owned();
        let dry = asked.dry_run;
        let _one_at_a_time = self.inner.merging.lock().await;
        let told = self.blocking(move |site| {
            let (old, record) = named(site, &feed)?;
            let (into, other) = named(site, &asked.into)?;
            if old == into {
                return Err(usage("a feed is merged into another one"));
            }
            if record.genesis.kind != other.genesis.kind {
                return Err(usage(format!(
                    "feed {:?} is of kind {} and feed {:?} of kind {}",
                    record.name, record.genesis.kind, other.name, other.genesis.kind
                )));
            }
            if other.strict {
                return Err(AuthorError::Strict.into());
            }
            if let Some((hold, _)) = site.store().open_holds(Some(old))?.first() {
                let hold = HEXLOWER.encode(hold);
                let detail = format!(
                    "deletions of feed {:?} wait for a person, and what they would take away would be published anew",
                    record.name
                );
                return Err(Problem::new(409, "conflict", "This feed cannot be merged yet", detail).hint(format!(
                    "look at them (packetboat holds) and let them take effect: packetboat approve {hold}"
                )));
            }
            if dry {
                return bring(site, old, into, true, true);
            }
            // The other feed's name is given up for the old one's, so that clients find everything where they look already.
            let merge = Merge {
                old,
                into: other.genesis,
                name: record.name,
                link: None,
                since: wall_clock(),
                brought_ops: None,
            };
            site.store().put_merge(&merge)?;
            if let Some(mut old) = site.store().feed(old)? {
                old.name = free_name(site, &merge.name)?;
                site.store().put_feed(&old)?;
            }
            settle_names(site, &merge)?;
            Ok(go_on(site, &merge)?.unwrap_or_default())
        });
        let told = told.await?;
        if told.done {
            self.news(None);
        }
        Ok(told)
    }

    /// Takes every merge as far as it goes: after a start, and after each run that is done.
    pub(super) async fn merges_go_on(&self) {
        let _one_at_a_time = self.inner.merging.lock().await;
        let brought = self.blocking(|site| {
            let mut brought = Vec::new();
            for merge in site.store().merges()? {
                brought.extend(go_on(site, &merge)?);
            }
            Ok(brought)
        });
        match brought.await {
            Ok(brought) => {
                for told in &brought {
                    tracing::info!(
                        from = told.from,
                        into = told.into,
                        fresh = told.fresh,
                        clashes = told.clashes,
                        "a feed was merged"
                    );
                }
                if brought.iter().any(|told| told.fresh + told.clashes > 0) {
                    self.news(None);
                }
            }
            Err(problem) => tracing::warn!(problem = problem.detail, "a merge of two feeds did not go on"),
        }
    }
}
