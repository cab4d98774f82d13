//! Peers that are let in and then say almost nothing, and a run beside them.

use protocol::session::{Output, Session};
use protocol::time::{Instant, Timestamp};

use super::*;

const SLOW: u8 = 100;

#[derive(Debug)]
struct KnowsAll(Vec<SiteId>);

impl Peers for KnowsAll {
    fn site_of(&self, key: &SiteId) -> Option<SiteId> {
        self.0.contains(key).then_some(*key)
    }

    fn pairing_open(&self) -> bool {
        false
    }
}

/// What a site says first.
fn hello(me: &Site, peer: &Site) -> Vec<u8> {
    let wall = Timestamp(1_795_000_000_000);
    let mut session = Session::new(config(Side::Dialler, me, peer, Switches::PULL), Instant(0), wall);
    let Some(Output::Send(frame)) = session.poll() else { panic!("a dialler speaks first") };
    frame
}

/// A peer that greets, and then begins a frame and gives a byte of it for each piece that comes at the honest one.
async fn dribbles(
    site: Site,
    connection: Connection,
    host: Site,
    mut pieces: tokio::sync::watch::Receiver<u64>,
) {
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    write_frame(&mut send, &hello(&site, &host)).await.unwrap();
    // The length of a long frame, and its first byte.
    send.write_all(&[0x80, 0x0f, 0xff, 0xff, 1]).await.unwrap();
    while pieces.changed().await.is_ok() {
        if send.write_all(&[0]).await.is_err() {
            return;
        }
    }
}

/// What an honest run comes to beside so many slow peers. All of them share the listener's budget.
async fn run_beside(slow: u8) -> (Outcome, Tally) {
    let (ny, la) = (Site::new(1), Site::new(2));
    for n in 0..20 {
        ny.publish(&format!("small-{n}"), 1_000);
    }
    ny.publish("large", 8 * MIB);
    let others: Vec<Site> = (0..slow).map(|n| Site::new(10 + n)).collect();
    let known = others.iter().chain([&la]).map(Site::id).collect();
    let key = SiteKey::from_seed(&[ny.seed; 32]);
    let listener = Endpoint::bind(LOOPBACK, &key, Arc::new(KnowsAll(known)), Pace::Background).unwrap();
    let net = Net { listener, dialler: endpoint(la.seed, &ny), listens: ny.id() };
    let serve = |connection: &Connection, peer: &Site| {
        let share = net.listener.share(connection).expect("there is room for a session");
        End::sharing(share, connection, config(Side::Listener, &ny, peer, Switches::MIRROR), &ny)
    };
    let (mut dribbling, mut ends, mut callers) = (JoinSet::new(), Vec::new(), Vec::new());
    for other in &others {
        let caller = endpoint(other.seed, &ny);
        let to = net.listener.local_addr().unwrap();
        let dialled = caller.dial(to, ny.id(), Alpn::Link, Pace::Background, PATIENCE).await.unwrap();
        let accepted = soon("the accept", net.listener.accept()).await.unwrap().connection;
        let mut end = serve(&accepted, other);
        dribbling.spawn(dribbles(other.clone(), dialled, ny.clone(), la.kept.subscribe()));
        end.until("the greeting", |happening| matches!(happening, Happening::Up(_)).then_some(())).await;
        ends.push(end);
        callers.push(caller);
    }
    let (dialled, accepted) = net.connect().await;
    let _listening = serve(&accepted, &la);
    let mut honest = End::start(&dialled, config(Side::Dialler, &la, &ny, Switches::PULL), &la);
    honest.run();
    let ended = honest.run_ended().await;
    assert!(la.equals(&ny));
    assert!(ends.iter().all(|end| !end.task.is_finished()), "the slow ones are there to the end");
    ended
}

/// Time is not compared: it says more of the machine than of the node.
#[tokio::test]
async fn a_hundred_peers_that_greet_and_dribble_cost_an_honest_run_no_frame_and_no_byte() {
    let alone = run_beside(0).await;
    assert_eq!((alone.0, alone.1.blobs_in), (Outcome::Done, 21));
    assert_eq!(run_beside(SLOW).await, alone);
}
