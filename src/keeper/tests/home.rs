//! What a site says for itself alone, and what it says once it is given rights.

use super::*;

fn version(name: &str) -> Body {
    use protocol::manifest::{File, Manifest};
    let file = File { name: "f".to_owned(), blob: BlobId([7; 32]), size: 1, sha256: [7; 32] };
    Body::Publish(protocol::op::Publish {
        coordinate: Coordinate::new(FeedKind::Raw, name, "1").unwrap(),
        manifest: Manifest::of(vec![file]).unwrap(),
        supersedes: vec![],
        provenance: None,
    })
}

fn grant(to: SiteId, rights: Rights) -> Body {
    Body::Grant(Grant { grantee: to, label: String::new(), rights, prefix: String::new(), expires: None })
}

fn site_without_rights() -> (SiteKey, Store, FeedId, SiteStore) {
    let (key, store, feed) = a_feed();
    let site = SiteStore::new(store.clone(), SiteKey::from_seed(&[9; 32]));
    (key, store, feed, site)
}

fn is_granted(key: &SiteKey, store: &Store, feed: FeedId, to: SiteId) {
    let log = origin_log(feed, key);
    let held = store.log_state(log).unwrap().map_or_else(Mmr::default, |state| state.after);
    let said = Verified::author(
        key.signing_key(),
        log,
        &held,
        vec![grant(to, Rights::WRITE)],
        Hlc::default(),
        wall_clock(),
    );
    store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
}

/// The log in which it would have been said is empty.
#[test]
fn what_cannot_be_said_at_home_keeps_nothing_there_that_is_said_with_rights() {
    for strict in [true, false] {
        let (key, store, feed, site) = site_without_rights();
        let mut record = store.feed(feed).unwrap().unwrap();
        if strict {
            record.strict = true;
            store.put_feed(&record).unwrap();
            assert!(matches!(site.author(feed, vec![moved()]), Err(AuthorError::Strict)));
            record.strict = false;
            store.put_feed(&record).unwrap();
        } else {
            let many = vec![moved(); 5000];
            assert!(matches!(site.author(feed, many), Err(AuthorError::Unsayable(_))));
        }
        is_granted(&key, &store, feed, site.me());
        let said = site.author(feed, vec![version("tool")]).unwrap();
        let authority = store.authority(feed).unwrap().unwrap();
        assert!(authority.is_author(site.me()));
        let log = said[0].op.place.log;
        assert!(!authority.stays_home(log), "strict {strict}: said with rights, in a log that never travels");
    }
}

/// What keys lead to a log is known only once the ledger is built anew, and items keep what they came to.
#[test]
fn a_log_of_a_contesting_key_counts_the_same_before_and_after_the_ledger_is_built_anew() {
    let (key, store, feed) = a_feed();
    let member = SiteKey::from_seed(&[9; 32]);
    is_granted(&key, &store, feed, member.site_id());
    let look = Look { me: key.site_id(), now: wall_clock() };
    let say = |by: &SiteKey, epoch: u64, bodies: Vec<Body>| {
        let log = LogId { feed, author: member.site_id(), epoch };
        let signer = (by.signing_key(), by.succession().clone());
        let said = Verified::author_as(signer, log, &Mmr::default(), bodies, Hlc::default(), wall_clock());
        let authority = store.authority(feed).unwrap().unwrap();
        let run = Permitted::received(said, feed, Switches::MIRROR, &authority, key.site_id()).unwrap();
        store.append(&[run]).unwrap();
    };
    let next = member.followed_by(&[2; 32]);
    let closing = Closing { key: next.public(), accepted: Vec::new() };
    let opens = Body::OpenEpoch(OpenEpoch { known: None, closes: Some(closing) });
    say(&next, protocol::succession::first_epoch(1), vec![opens]);
    store.authority(feed).unwrap();
    let thief = member.followed_by(&[66; 32]);
    say(&thief, protocol::succession::first_epoch(1) + 7, vec![version("stolen")]);
    let stands = || store.item(feed, "stolen", "1", look).unwrap().unwrap().standing;
    let before = (store.authority(feed).unwrap().unwrap().contested().clone(), stands());
    // Builds the ledger anew, as a start does.
    store.keep_home(LogId { feed, author: key.site_id(), epoch: 77 }).unwrap();
    let after = (store.authority(feed).unwrap().unwrap().contested().clone(), stands());
    let true_now = {
        let ledger = store.ledger(feed).unwrap().unwrap();
        let held = protocol::feed::Held::default();
        let facts = store.facts(feed, "stolen", "1").unwrap();
        protocol::feed::decide(
            &facts,
            protocol::feed::Rules {
                ledger: &ledger,
                me: look.me,
                now: look.now,
                local_wins: false,
                held: &held,
            },
        )
        .standing
    };
    assert_eq!(after.1, true_now, "the item that is kept is not what its ops come to");
    assert_eq!(before, after);
}

/// Bytes that only a log which stays here names are given to nobody. [P-13]
#[test]
fn bytes_that_a_site_published_for_itself_leave_it_never() {
    let (key, store, feed, site) = site_without_rights();
    let said = site.author(feed, vec![version("private")]).unwrap();
    let authority = store.authority(feed).unwrap().unwrap();
    assert!(authority.stays_home(said[0].op.place.log));
    let look = site.look();
    let gives = || store.carries(feed, BlobId([7; 32]), look, &Filter::default(), None).unwrap();
    assert!(!gives(), "without rights");
    is_granted(&key, &store, feed, site.me());
    assert!(!gives(), "with rights");
}

fn admin(key: &SiteKey, store: &Store, feed: FeedId, to: SiteId, prefix: &str, expires: Option<Timestamp>) {
    let log = origin_log(feed, key);
    let held = store.log_state(log).unwrap().map_or_else(Mmr::default, |state| state.after);
    let grant = Body::Grant(Grant {
        grantee: to,
        label: String::new(),
        rights: Rights::ALL,
        prefix: prefix.to_owned(),
        expires,
    });
    let past = Timestamp(wall_clock().0 - HOUR_MS);
    let said = Verified::author(key.signing_key(), log, &held, vec![grant], Hlc::default(), past);
    store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
}

/// It has none any more, as far as it heard, and no link lets anything out: in one log of its own, however much it says.
#[test]
fn what_is_said_once_rights_ran_out_stays_at_home_and_what_is_said_with_new_ones_does_not() {
    let (key, store, feed, site) = site_without_rights();
    let me = site.me();
    let says = |ago_ms: u64, body: Body| {
        let log = origin_log(feed, &key);
        let held = store.log_state(log).unwrap().map_or_else(Mmr::default, |state| state.after);
        let at = Timestamp(wall_clock().0 - ago_ms);
        let said = Verified::author(key.signing_key(), log, &held, vec![body], Hlc::default(), at);
        store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
    };
    let writes = |name: &str| site.author(feed, vec![version(name)]).unwrap()[0].op.place.log;
    says(4 * HOUR_MS, grant(me, Rights::WRITE));
    let with = writes("early");
    says(3 * HOUR_MS, Body::Revoke(Revoke { grantee: me, accepted: Vec::new(), reason: String::new() }));
    let without = writes("private");
    assert_eq!(without, writes("more"));
    let Body::Grant(mut over) = grant(me, Rights::WRITE) else { unreachable!() };
    over.expires = Some(Timestamp(wall_clock().0 - HOUR_MS));
    says(2 * HOUR_MS, Body::Grant(over));
    assert_eq!(without, writes("ran-out"));
    is_granted(&key, &store, feed, me);
    let anew = writes("shared");
    let authority = store.authority(feed).unwrap().unwrap();
    assert_eq!([with, without, anew].map(|log| authority.stays_home(log)), [false, true, false]);
    assert_eq!(anew, writes("shared-too"));
}

/// docs/permissions.md: "An admin of a prefix grants within that prefix".
#[test]
fn an_admin_of_a_prefix_grants_within_it() {
    let (key, store, feed, site) = site_without_rights();
    admin(&key, &store, feed, site.me(), "acme-", None);
    let record = store.feed(feed).unwrap().unwrap();
    let to = (SiteId([7; 32]), String::new());
    let said = crate::statement::rights::grant(
        &site,
        feed,
        &record,
        to,
        Rights::WRITE,
        "acme-tools-".to_owned(),
        None,
    );
    said.unwrap();
    assert!(store.authority(feed).unwrap().unwrap().is_author(SiteId([7; 32])));
}

/// Who may grant no more because its time is over is told so.
#[test]
fn an_admin_whose_time_is_over_is_refused() {
    let (key, store, feed, site) = site_without_rights();
    admin(&key, &store, feed, site.me(), "", Some(Timestamp(wall_clock().0 - HOUR_MS / 2)));
    let record = store.feed(feed).unwrap().unwrap();
    let to = (SiteId([7; 32]), String::new());
    let said = crate::statement::rights::grant(&site, feed, &record, to, Rights::WRITE, String::new(), None);
    let counts = store.authority(feed).unwrap().unwrap().is_author(SiteId([7; 32]));
    assert!(said.is_err() || counts, "{said:?}, and it counts nowhere");
}

/// A site whose words left it changed its key while it was without a link: that the older key's log ends must leave it too.
#[test]
fn what_closes_a_log_that_travels_does_not_stay_at_home() {
    let (key, store, feed, site) = site_without_rights();
    let on = protocol::link::LinkFeed {
        feed,
        switches: Switches::MIRROR,
        filter: Filter::default(),
        expires: None,
    };
    let link = Link::new(
        "peer".to_owned(),
        key.site_id(),
        "peer".to_owned(),
        Dial::Outgoing { addresses: Vec::new() },
        vec![on],
    );
    store.put_link(&link).unwrap();
    let early = site.author(feed, vec![version("early")]).unwrap();
    store.remove_link("peer").unwrap();
    changes_key(&site, 2);
    assert!(site.open_for_key(feed).unwrap());
    store.put_link(&link).unwrap();
    is_granted(&key, &store, feed, site.me());
    site.open_for_key(feed).unwrap();
    let authority = store.authority(feed).unwrap().unwrap();
    assert!(!authority.stays_home(early[0].op.place.log));
    let closings = own_log::heads(&store, site.me(), feed)
        .unwrap()
        .into_iter()
        .filter(|head| generation_of(head.log.epoch) == 1 && !authority.stays_home(head.log));
    assert_eq!(closings.count(), 1, "no log that travels closes the older key's");
}
