//! Two pumps over real QUIC on loopback: what arrives, what a cut costs, and how each ending shows at both ends.

mod site;
mod slow;

use std::net::{Ipv4Addr, SocketAddr};

use protocol::fault::{Misbehaved, Reason};
use protocol::filter::Filter;
use protocol::frame::Frame;
use protocol::id::SiteId;
use protocol::limits::{BULK_LANES, EXTENT_BYTES};
use protocol::package::FeedKind;
use protocol::session::{Keys, Side, Terms};
use protocol::switches::Switches;
use quinn::{ConnectionError, SendStream};

use super::*;
use crate::identity::SiteKey;
use crate::transport::budget::Budget;
use crate::transport::endpoint::{CLOSE_FORGOTTEN, Endpoint, is_refusal};
use crate::transport::framing::{read_frame, write_frame};
use crate::transport::settings::Pace;
use crate::transport::tls::{Alpn, Peers};
use site::{Disk, Site, genesis};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

#[derive(Debug)]
struct Knows(SiteId);

impl Peers for Knows {
    fn site_of(&self, key: &SiteId) -> Option<SiteId> {
        (*key == self.0).then_some(*key)
    }

    fn pairing_open(&self) -> bool {
        false
    }
}

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    timeout(PATIENCE, future).await.unwrap_or_else(|_elapsed| panic!("{what} took too long"))
}

fn endpoint(seed: u8, knows: &Site) -> Endpoint {
    let key = SiteKey::from_seed(&[seed; 32]);
    Endpoint::bind(LOOPBACK, &key, Arc::new(Knows(knows.id())), Pace::Background).unwrap()
}

/// Two sites' endpoints: the second dials the first.
struct Net {
    listener: Endpoint,
    dialler: Endpoint,
    listens: SiteId,
}

impl Net {
    fn of(listens: &Site, dials: &Site) -> Self {
        let (listener, dialler) = (endpoint(listens.seed, dials), endpoint(dials.seed, listens));
        Self { listener, dialler, listens: listens.id() }
    }

    async fn dial(&self) -> Connection {
        let to = self.listener.local_addr().unwrap();
        self.dialler.dial(to, self.listens, Alpn::Link, Pace::Background, PATIENCE).await.unwrap()
    }

    /// A connection, as its dialler and as its listener have it.
    async fn connect(&self) -> (Connection, Connection) {
        let dialled = self.dial().await;
        (dialled, soon("the accept", self.listener.accept()).await.unwrap().connection)
    }
}

/// One driven session, from outside.
struct End {
    commands: mpsc::UnboundedSender<Command>,
    happenings: mpsc::UnboundedReceiver<Happening>,
    task: JoinHandle<Outcome>,
}

fn config(side: Side, me: &Site, peer: &Site, switches: Switches) -> Config {
    Config {
        keys: Keys::default(),
        side,
        me: me.id(),
        peer: peer.id(),
        store: me.store(),
        name: format!("site {}", me.seed),
        terms: vec![Terms {
            feed: genesis().feed_id(),
            kind: FeedKind::Raw,
            switches,
            filter: Filter::default(),
            expires: None,
            twin: None,
        }],
        priority: Default::default(),
        refuses: None,
        versions: Default::default(),
        barred: vec![],
        new_feeds: Default::default(),
        memory: me.state().memory.clone(),
        salt: [5; 8],
    }
}

impl End {
    fn start(connection: &Connection, config: Config, site: &Site) -> Self {
        Self::sharing(Arc::<Budget>::default().join(connection).unwrap(), connection, config, site)
    }

    fn sharing(share: Share, connection: &Connection, config: Config, site: &Site) -> Self {
        let (commands, told) = mpsc::unbounded_channel();
        let (happened, happenings) = mpsc::unbounded_channel();
        let task = drive(connection.clone(), share, config, Box::new(site.clone()), told, happened);
        Self { commands, happenings, task }
    }

    fn run(&self) {
        self.commands.send(Command::Run).unwrap();
    }

    async fn until<T>(&mut self, what: &str, wanted: impl Fn(Happening) -> Option<T>) -> T {
        let found = async {
            loop {
                let happening = self.happenings.recv().await.expect("the session goes on");
                if let Some(found) = wanted(happening) {
                    return found;
                }
            }
        };
        soon(what, found).await
    }

    async fn run_ended(&mut self) -> (Outcome, Tally) {
        self.until("the end of the run", |happening| {
            if let Happening::RunEnded { outcome, tally, .. } = happening {
                Some((outcome, tally))
            } else {
                None
            }
        })
        .await
    }

    /// The outcome, as it is returned and as it is told last.
    async fn outcome(mut self) -> Outcome {
        let told = self
            .until("the end of the session", |happening| {
                if let Happening::Closed(outcome) = happening { Some(outcome) } else { None }
            })
            .await;
        assert_eq!(soon("the end of the task", self.task).await.unwrap(), told);
        told
    }
}

/// Sessions at both ends of a connection: the dialler's and the listener's.
fn start(ends: &(Connection, Connection), dials: &Site, listens: &Site, asks: Switches) -> (End, End) {
    let asking = config(Side::Dialler, dials, listens, asks);
    let allowing = config(Side::Listener, listens, dials, Switches::MIRROR);
    (End::start(&ends.0, asking, dials), End::start(&ends.1, allowing, listens))
}

#[tokio::test]
async fn small_and_large_blobs_mirror_both_ways_and_a_second_run_is_one_round_trip() {
    let (ny, la) = (Site::new(1), Site::new(2));
    ny.grant(&la);
    for n in 0..150 {
        ny.publish(&format!("ny-{n}"), 10 + n * 37);
        la.publish(&format!("la-{n}"), 11 + n * 91);
    }
    ny.publish("ny-large", 20 * MIB + 5);
    la.publish("la-large", 20 * MIB);
    let net = Net::of(&ny, &la);
    let ends = net.connect().await;
    let (mut dialling, mut listening) = start(&ends, &la, &ny, Switches::MIRROR);
    dialling.run();
    let (outcome, tally) = dialling.run_ended().await;
    assert_eq!((outcome, tally.blobs_in, tally.ops_in), (Outcome::Done, 151, 152));
    assert_eq!(listening.run_ended().await.0, Outcome::Done);
    assert!(ny.equals(&la) && ny.published() == 302);

    dialling.run();
    let (outcome, tally) = dialling.run_ended().await;
    assert_eq!((outcome, tally.round_trips, tally.ops_in), (Outcome::Done, 1, 0));
    dialling.commands.send(Command::Close(Outcome::Done)).unwrap();
    assert_eq!(dialling.outcome().await, Outcome::Done);
    assert_eq!(listening.outcome().await, Outcome::Done);
}

/// [P-60] A cut costs what was on the way, and everything that arrived whole is kept.
#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    let (ny, la) = (Site::new(1), Site::new(2));
    let content = 20 * MIB;
    ny.publish("large", content);
    let net = Net::of(&ny, &la);
    let ends = net.connect().await;
    let (mut dialling, listening) = start(&ends, &la, &ny, Switches::PULL);
    dialling.run();
    soon("thirty pieces", la.kept.subscribe().wait_for(|kept| *kept >= 30)).await.unwrap();
    ends.0.close(VarInt::from_u32(3), b"cut");
    let (outcome, before) = dialling.run_ended().await;
    assert_eq!(outcome, Outcome::Interrupted);
    assert_eq!(dialling.outcome().await, Outcome::Interrupted);
    assert_eq!(listening.outcome().await, Outcome::Interrupted);

    let ends = net.connect().await;
    let (mut dialling, mut listening) = start(&ends, &la, &ny, Switches::PULL);
    dialling.run();
    let (outcome, after) = dialling.run_ended().await;
    assert_eq!((outcome, after.blobs_in), (Outcome::Done, 1));
    let (_, sent) = listening.run_ended().await;
    assert!(la.equals(&ny));
    let moved = before.content_in_bytes + after.content_in_bytes;
    assert!(moved <= (content + 2 * EXTENT_BYTES) as u64, "{moved} bytes arrived of {content}");
    assert!(sent.content_out_bytes <= (content - 28 * EXTENT_BYTES) as u64, "{sent:?}");
}

#[tokio::test]
async fn a_pull_link_takes_nothing_from_the_dialler() {
    let (ny, tokyo) = (Site::new(1), Site::new(3));
    ny.publish("approved", 1_000);
    tokyo.publish("local", 1_000);
    let net = Net::of(&ny, &tokyo);
    let ends = net.connect().await;
    let (mut dialling, mut listening) = start(&ends, &tokyo, &ny, Switches::PULL);
    dialling.run();
    assert_eq!(dialling.run_ended().await.0, Outcome::Done);
    let (outcome, tally) = listening.run_ended().await;
    assert_eq!((outcome, tally.ops_in, tally.blobs_in), (Outcome::Done, 0, 0));
    assert_eq!((tokyo.published(), ny.published()), (2, 1));
}

#[tokio::test]
async fn a_listener_asks_for_a_run_and_the_dialler_hears_it() {
    let (ny, la) = (Site::new(1), Site::new(2));
    let net = Net::of(&ny, &la);
    let ends = net.connect().await;
    let (mut dialling, mut listening) = start(&ends, &la, &ny, Switches::PULL);
    listening.until("the link", |happening| matches!(happening, Happening::Up(_)).then_some(())).await;
    listening.run();
    dialling
        .until("the nudge", |happening| matches!(happening, Happening::Nudged { asked: true }).then_some(()))
        .await;
}

/// [P-32] Being connected is not being welcome.
#[tokio::test]
async fn a_refused_link_gives_both_ends_the_reason() {
    let (ny, la) = (Site::new(1), Site::new(2));
    let net = Net::of(&ny, &la);
    let ends = net.connect().await;
    let dialling = End::start(&ends.0, config(Side::Dialler, &la, &ny, Switches::PULL), &la);
    let paused =
        Config { refuses: Some(Reason::LinkPaused), ..config(Side::Listener, &ny, &la, Switches::MIRROR) };
    let listening = End::start(&ends.1, paused, &ny);
    assert_eq!(dialling.outcome().await, Outcome::Refused(Reason::LinkPaused));
    assert_eq!(listening.outcome().await, Outcome::Refused(Reason::LinkPaused));
}

#[tokio::test]
async fn a_session_closed_for_a_reason_tells_the_peer() {
    let (ny, la) = (Site::new(1), Site::new(2));
    let net = Net::of(&ny, &la);
    let ends = net.connect().await;
    let (mut dialling, listening) = start(&ends, &la, &ny, Switches::PULL);
    dialling.until("the link", |happening| matches!(happening, Happening::Up(_)).then_some(())).await;
    listening.commands.send(Command::Close(Outcome::Refused(Reason::GrantWithdrawn))).unwrap();
    assert_eq!(dialling.outcome().await, Outcome::Refused(Reason::GrantWithdrawn));
    assert_eq!(listening.outcome().await, Outcome::Refused(Reason::GrantWithdrawn));
}

/// The handshake tells a dialler only after its end, so the first frames meet the refusal.
#[tokio::test]
async fn a_site_that_is_not_known_learns_so() {
    let (ny, la, stranger) = (Site::new(1), Site::new(2), Site::new(3));
    let net = Net { dialler: endpoint(3, &ny), ..Net::of(&ny, &la) };
    let to = net.listener.local_addr().unwrap();
    let dialled = net.dialler.dial(to, ny.id(), Alpn::Link, Pace::Background, PATIENCE).await.unwrap();
    let dialling = End::start(&dialled, config(Side::Dialler, &stranger, &ny, Switches::PULL), &stranger);
    assert_eq!(dialling.outcome().await, Outcome::Refused(Reason::SiteUnknown));
    assert!(is_refusal(&dialled.close_reason().unwrap()));

    // Forgotten while its handshake ran: the accept loop closes with a code of its own.
    let net = Net::of(&ny, &la);
    let (dialled, accepted) = net.connect().await;
    let dialling = End::start(&dialled, config(Side::Dialler, &la, &ny, Switches::PULL), &la);
    accepted.close(CLOSE_FORGOTTEN, b"");
    assert_eq!(dialling.outcome().await, Outcome::Refused(Reason::SiteUnknown));
}

#[tokio::test]
async fn a_disk_that_does_not_take_bytes_ends_the_session_by_its_name_at_both_ends() {
    for (disk, here, there) in [
        (Disk::Full, Outcome::Refused(Reason::DiskFull), Outcome::Refused(Reason::DiskFull)),
        (Disk::Failing, Outcome::Fault, Outcome::Interrupted),
        (Disk::Panicking, Outcome::Fault, Outcome::Interrupted),
    ] {
        let (ny, la) = (Site::new(1), Site::new(2));
        ny.publish("small", 1_000);
        ny.publish("large", 4 * MIB);
        la.state().disk = disk;
        let net = Net::of(&ny, &la);
        let ends = net.connect().await;
        let (dialling, listening) = start(&ends, &la, &ny, Switches::PULL);
        dialling.run();
        assert_eq!(dialling.outcome().await, here, "{disk:?}");
        assert_eq!(listening.outcome().await, there, "{disk:?}");
    }
}

/// Sessions share the store, the endpoint and the budget: a bug met in one of them must leave all three of use to the others.
#[tokio::test]
async fn a_panic_ends_its_session_alone_and_the_site_goes_on() {
    let (ny, la) = (Site::new(1), Site::new(2));
    ny.publish("small", 1_000);
    ny.publish("large", 4 * MIB);
    let net = Net::of(&ny, &la);
    let ends = [net.connect().await, net.connect().await];
    let (broken, _peer_of_broken) = start(&ends[0], &la, &ny, Switches::PULL);
    let (mut beside, _peer_of_beside) = start(&ends[1], &la, &ny, Switches::PULL);
    beside.until("the link", |happening| matches!(happening, Happening::Up(_)).then_some(())).await;
    la.state().disk = Disk::Panicking;
    broken.run();
    assert_eq!(broken.outcome().await, Outcome::Fault);

    la.state().disk = Disk::Sound;
    beside.run();
    assert_eq!(beside.run_ended().await.0, Outcome::Done);
    assert!(la.equals(&ny));
    ny.publish("next", 1_000);
    let (mut next, _peer_of_next) = start(&net.connect().await, &la, &ny, Switches::PULL);
    next.run();
    let (outcome, tally) = next.run_ended().await;
    assert_eq!((outcome, tally.blobs_in), (Outcome::Done, 1));
    assert!(la.equals(&ny));
}

async fn uni(connection: &Connection, bytes: &[u8]) -> SendStream {
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// What a rude dialler does; its streams stay open.
#[derive(Debug, Clone, Copy)]
enum Rude {
    Control(&'static [u8]),
    SecondControl,
    Lane(&'static [u8]),
    CutLane(&'static [u8]),
    Lanes(u8, u8),
}

impl Rude {
    async fn act(self, connection: &Connection) -> Vec<SendStream> {
        match self {
            Self::Control(bytes) => {
                let (mut send, _receive) = connection.open_bi().await.unwrap();
                send.write_all(bytes).await.unwrap();
                vec![send]
            }
            Self::SecondControl => {
                let (mut one, _) = connection.open_bi().await.unwrap();
                let (mut two, _) = connection.open_bi().await.unwrap();
                one.write_all(&[0x0a]).await.unwrap();
                two.write_all(&[0x0a]).await.unwrap();
                vec![one, two]
            }
            Self::Lane(bytes) => vec![uni(connection, bytes).await],
            Self::CutLane(bytes) => {
                let mut stream = uni(connection, bytes).await;
                stream.finish().unwrap();
                vec![stream]
            }
            Self::Lanes(kind, count) => {
                let mut streams = Vec::new();
                for _ in 0..count {
                    streams.push(uni(connection, &[kind]).await);
                }
                streams
            }
        }
    }
}

#[tokio::test]
async fn rubbish_on_each_lane_is_named_and_the_other_end_is_told() {
    let cases = [
        (Rude::Control(&[1, 0xff]), Misbehaved::FrameUnknown),
        (Rude::Control(&[2, 1, 0xff]), Misbehaved::FrameMalformed),
        (Rude::Control(&[0xbf, 0xff, 0xff, 0xff]), Misbehaved::FrameTooLong),
        (Rude::SecondControl, Misbehaved::FrameUnexpected),
        (Rude::Lane(&[9]), Misbehaved::FrameUnknown),
        (Rude::Lane(&[lane::KIND_OPS, 1, 0xff]), Misbehaved::FrameUnknown),
        (Rude::Lane(&[lane::KIND_PIECE, 1, 0xff]), Misbehaved::FrameUnknown),
        (Rude::Lane(&[lane::KIND_PIECE, 0xbf, 0xff, 0xff, 0xff]), Misbehaved::FrameTooLong),
        (Rude::CutLane(&[lane::KIND_OPS, 5, 1, 2]), Misbehaved::FrameTruncated),
        (Rude::CutLane(&[lane::KIND_PIECE, 0x41]), Misbehaved::FrameTruncated),
        (Rude::Lanes(lane::KIND_OPS, 2), Misbehaved::FrameUnexpected),
        (Rude::Lanes(lane::KIND_PIECE, BULK_LANES + 1), Misbehaved::FrameUnexpected),
    ];
    let (ny, la) = (Site::new(1), Site::new(2));
    let net = Net::of(&ny, &la);
    for (rude, fault) in cases {
        let (dialled, accepted) = net.connect().await;
        let listening = End::start(&accepted, config(Side::Listener, &ny, &la, Switches::MIRROR), &ny);
        let _streams = rude.act(&dialled).await;
        assert_eq!(listening.outcome().await, Outcome::Misbehaved(fault), "{rude:?}");
        let ConnectionError::ApplicationClosed(close) = soon("the close", dialled.closed()).await else {
            panic!("{rude:?}: not closed by the site");
        };
        assert_eq!(close.error_code, VarInt::from_u32(2));
        assert_eq!(close.reason, fault.to_string().as_bytes());
    }
}

/// Streams have no order among each other: ops may be here before the frame that announces them.
#[tokio::test]
async fn ops_that_overtake_their_announcement_wait_for_it() {
    use protocol::session::{Input, Output, Session};
    use protocol::time::{Instant, Timestamp};

    let (ny, la) = (Site::new(1), Site::new(2));
    ny.publish("a", 5);
    ny.state().blobs.clear();
    let net = Net::of(&ny, &la);
    let (dialled, accepted) = net.connect().await;
    let mut dialling = End::start(&dialled, config(Side::Dialler, &la, &ny, Switches::PULL), &la);
    dialling.run();
    let wall = Timestamp(1_795_000_000_000);
    let mut session = Session::new(config(Side::Listener, &ny, &la, Switches::MIRROR), Instant(0), wall);
    let (mut send, mut receive) = soon("the control stream", accepted.accept_bi()).await.unwrap();
    let conversation = async {
        loop {
            let Ok(Some(frame)) = read_frame(&mut receive).await else { return };
            session.handle(Instant(1), wall, Input::Control(&frame), &ny);
            let mut ops = Vec::new();
            while let Some(frame) = session.poll_ops(&ny) {
                ops.push(frame);
            }
            if !ops.is_empty() {
                let mut lane = uni(&accepted, &[lane::KIND_OPS]).await;
                for frame in &ops {
                    write_frame(&mut lane, frame).await.unwrap();
                }
                lane.finish().unwrap();
                // Acknowledged in whole: the dialler has them before it has the announcement.
                lane.stopped().await.unwrap();
            }
            assert!(session.poll_piece(Instant(1), &ny).is_none());
            while let Some(output) = session.poll() {
                if let Output::Send(frame) = output {
                    write_frame(&mut send, &frame).await.unwrap();
                }
            }
        }
    };
    let (outcome, tally) = tokio::select! {
        ended = dialling.run_ended() => ended,
        () = conversation => panic!("the dialler hung up"),
    };
    assert_eq!((outcome, tally.ops_in, tally.blobs_missing), (Outcome::Interrupted, 1, 1));
}

#[tokio::test]
async fn a_control_stream_that_says_the_wrong_thing_first_is_a_broken_rule() {
    let (ny, la) = (Site::new(1), Site::new(2));
    let net = Net::of(&ny, &la);
    let (dialled, accepted) = net.connect().await;
    let listening = End::start(&accepted, config(Side::Listener, &ny, &la, Switches::MIRROR), &ny);
    let (mut send, _receive) = dialled.open_bi().await.unwrap();
    write_frame(&mut send, &Frame::Nudge { asked: true }.encode()).await.unwrap();
    assert_eq!(listening.outcome().await, Outcome::Misbehaved(Misbehaved::FrameUnexpected));
}

#[tokio::test]
async fn a_connection_dropped_at_any_time_leaves_nothing_running() {
    let ny = Site::new(1);
    for n in 0..20 {
        ny.publish(&format!("small-{n}"), 20_000);
    }
    ny.publish("large", 2 * MIB);
    let net = Net::of(&ny, &Site::new(2));
    for round in 0..50_u64 {
        let la = Site::new(2);
        let ends = net.connect().await;
        let (dialling, listening) = start(&ends, &la, &ny, Switches::PULL);
        dialling.run();
        let wanted = round.saturating_sub(5) % 25;
        soon("the pieces", la.kept.subscribe().wait_for(|kept| *kept >= wanted)).await.unwrap();
        let cut = if round % 2 == 0 { &ends.0 } else { &ends.1 };
        cut.close(VarInt::from_u32(3), b"");
        assert_eq!(dialling.outcome().await, Outcome::Interrupted, "round {round}");
        assert_eq!(listening.outcome().await, Outcome::Interrupted, "round {round}");
        assert_eq!((la.holders(), ny.holders()), (1, 1), "round {round}");
    }
}

#[tokio::test]
async fn an_aborted_pump_ends_both_sessions() {
    let (ny, la) = (Site::new(1), Site::new(2));
    let net = Net::of(&ny, &la);
    let ends = net.connect().await;
    let (mut dialling, listening) = start(&ends, &la, &ny, Switches::PULL);
    dialling.until("the link", |happening| matches!(happening, Happening::Up(_)).then_some(())).await;
    dialling.task.abort();
    assert_eq!(listening.outcome().await, Outcome::Interrupted);
}
