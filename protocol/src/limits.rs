//! Every number a peer, a client or a file can push against, each with its reason.

/// Bytes of one control or ops frame. A frame is read whole before it is decoded, so this bounds a connection's memory.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Bytes of ops packed into one OPS frame before the next is begun: small enough to be applied at a steady pace.
pub const OPS_FRAME_BYTES_TARGET: usize = 128 << 10;

/// Ops in one OPS frame: bounds the work between two looks at the clock.
pub const OPS_PER_FRAME_MAX: usize = 4096;

/// Bytes of one op. Larger metadata belongs in a file of the version.
pub const OP_BYTES_MAX: usize = 64 << 10;

/// Bytes of the ops that a site signs with one head: they travel in one frame, with what each of them and the head take beside.
pub const BATCH_BYTES_MAX: usize = 960 << 10;

/// Bytes of a feed, site or link name: it is shown in tables and travels in every handshake.
pub const LABEL_BYTES_MAX: usize = 64;

/// Bytes of a package name (npm's own limit is 214 and is the largest of the eight ecosystems').
pub const NAME_BYTES_MAX: usize = 214;

/// Bytes of a version.
pub const VERSION_BYTES_MAX: usize = 128;

/// Bytes of a file's name inside a version: what common file systems can hold.
pub const FILE_NAME_BYTES_MAX: usize = 255;

/// Files in one version. A container image has a few dozen layers, a release a few hundred artefacts.
pub const FILES_PER_VERSION_MAX: usize = 256;

/// Bytes of a reason given for a delete, a block or a refusal.
pub const REASON_BYTES_MAX: usize = 1024;

/// Entries of a publish's metadata.
pub const METADATA_ENTRIES_MAX: usize = 128;

/// Publishes that a delete names as seen, and deletes that a publish supersedes.
pub const OPS_NAMED_MAX: usize = 1024;

/// Logs that a site names in one op of its own: each takes up to 84 bytes, and an op has 64 KiB.
pub const LOGS_NAMED_MAX: usize = 640;

/// Bytes of one blob. At 256 KiB an extent its outline is 8 MiB, the largest thing a transfer holds whole.
pub const BLOB_BYTES_MAX: u64 = 64 << 30;

/// Bytes of one extent: the unit in which large blobs are stored, asked for and resumed.
pub const EXTENT_BYTES: usize = 256 << 10;

/// Bytes of one group: the unit in which a receiver verifies bytes while they stream. 16 KiB is
/// where hashing overhead falls to 1.1 of a plain pass.
pub const GROUP_BYTES: usize = 16 << 10;

/// How far ahead of a site's own clock a stamp may lie before its op waits until it is due.
pub const STAMP_AHEAD_MS_MAX: u64 = 10 * 60 * 1000;

/// Words about rights, told by peers, of sites that no word gives any right: what gives it may come later, and nobody else owes them room.
pub const STRANGERS_WORDS_MAX: usize = 64;

/// Offers of feeds that one end made and the other has not answered: each may name as many feeds as a link has, and waits in memory.
pub const OFFERS_OPEN_MAX: usize = 16;

/// Feeds named in one handshake.
pub const FEEDS_PER_LINK_MAX: usize = 1024;

/// Logs that one frame tells of or asks for, each in up to 92 bytes. Where more have news they are compared by ranges, and asked for in turn.
pub const LOGS_PER_FRAME_MAX: usize = 8192;

/// Ranges in one reconciliation frame: bounds what one question can make the other side hash.
pub const RANGES_PER_FRAME_MAX: usize = 1024;

/// Range questions in one run. A million logs need about ten thousand; a flood needs more.
pub const RANGES_PER_RUN_MAX: usize = 1 << 16;

/// Bytes of blobs a receiver has asked for and not yet got: twice the bandwidth-delay product of
/// 100 Mbit/s at 600 ms.
pub const WANTED_BYTES_MAX: u64 = 16 << 20;

/// Extents of the outlines that are asked for and not yet got, but for one alone: two of the largest blobs, 16 MiB.
pub const OUTLINES_OPEN_EXTENTS_MAX: u64 = 1 << 19;

/// Extents of outlines of which only parts came: twice what is asked for, because who published may have said too small a size.
pub const OUTLINES_HELD_EXTENTS_MAX: usize = 1 << 20;

/// Extents in a part of an outline that is not its last: what each part costs beside them stays a small share.
pub const OUTLINE_PART_EXTENTS_MIN: usize = 1024;

/// Blobs and extents asked for and not yet got: bounds the sender's queue of promises.
pub const WANTED_ITEMS_MAX: usize = 4096;

/// Content read to answer one question what is kept here: who lets bytes go relies on the answer, so that they are read first. More takes a slow
/// disk longer than whoever asks waits.
pub const KEPT_READ_BYTES_MAX: u64 = 1 << 30;

/// Streams that carry blob bytes side by side. One stream of over 2 MiB window can kill a
/// connection on a fast long link, so the pipe is filled by several.
pub const BULK_LANES: u8 = 8;

/// How long a dialler or listener waits for the first frame of the other.
pub const HELLO_MS_MAX: u64 = 5_000;

/// How long a run may go on without verified progress before it is given up.
pub const PROGRESS_MS_MAX: u64 = 60_000;

/// How long a ticket may be valid.
pub const TICKET_LIFE_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// Addresses in one ticket, so that it stays short enough to paste.
pub const TICKET_ADDRESSES_MAX: usize = 8;

/// Feeds offered by one ticket.
pub const TICKET_FEEDS_MAX: usize = 16;

/// Pairing attempts a minute at one site that are told what was wrong: a ticket's secret has 128 bits, this keeps who guesses from learning more.
/// A ticket that is proved is good however many guess beside it.
pub const PAIRING_ATTEMPTS_PER_MINUTE_MAX: u32 = 5;

/// Joiners that are heard at one time. Each may have [`CALLER_WINDOW_BYTES`] here, 8 MiB in all, for [`PAIRING_MS_MAX`].
pub const PAIRINGS_MAX: usize = 128;

/// Bytes of one pairing frame: sixteen feeds with names of full length are a fifth of this.
pub const PAIRING_FRAME_BYTES_MAX: usize = 16 << 10;

/// Keys that follow a site's first: one a year for longer than a machine lives. Each adds 96 bytes to every signed head.
pub const HANDOVERS_MAX: usize = 16;

/// How long either end of a pairing waits for the other's one frame.
pub const PAIRING_MS_MAX: u64 = 10_000;

/// Bytes of a JSON body of the API: the largest is a version of 256 files.
pub const HTTP_JSON_BYTES_MAX: usize = 1 << 20;

/// How long a client may take to send a JSON body: the largest in this time is 280 kbit/s.
pub const HTTP_JSON_MS_MAX: u64 = 30_000;

/// Bytes of one HTTP request's head: package clients send under two KiB.
pub const HTTP_HEADER_BYTES_MAX: usize = 64 << 10;

/// How long a client may take to send a request's head.
pub const HTTP_HEADER_MS_MAX: u64 = 10_000;

/// How long an upload, or an answer that its reader does not take, may stand still.
pub const HTTP_IDLE_MS_MAX: u64 = 60_000;

/// How long the rest of a body that was refused is still read, so that its sender hears why: the time nginx gives by default.
pub const HTTP_UNREAD_MS_MAX: u64 = 30_000;

/// HTTP connections of one door at once: each holds a file handle and some buffers.
pub const HTTP_CONNECTIONS_MAX: usize = 1024;

/// Name patterns in one filter: they are looked at for every version.
pub const FILTER_NAMES_MAX: usize = 64;

/// Windows of one link's timetable: a week has seven days and a day rarely more than a few paces.
pub const WINDOWS_MAX: usize = 32;

/// Links told of in one frame or kept of what peers told: advice for people, so old ones give way.
pub const LINK_NOTES_MAX: usize = 4096;

/// Publishes of one run whose fate is told to a pusher that cannot see it. More are seen at the receiving site.
pub const UNSERVED_TOLD_MAX: usize = 256;

/// Ops named in all when telling fates: 256 KiB, a quarter of a frame.
pub const UNSERVED_OPS_MAX: usize = 8192;

/// Bytes of proofs of rights in one answer: half a frame. A feed with more grants than fit tells those that it can.
pub const RIGHTS_BYTES_MAX: usize = 512 << 10;

/// How far back the brake on mass deletion counts: long enough that a link which passes each deletion on at once adds up, short enough
/// that the clearing up of a working day, done bit by bit, does not.
pub const BRAKE_WINDOW_MS: u64 = 60 * 60 * 1000;

/// What the brake counts together: a window is at most sixty of these, however many deletions come.
pub const BRAKE_SLOT_MS: u64 = 60 * 1000;

/// Stretches of logs that the brake tells apart within a window, and that a hold lies over: some 40 kB of a record, which is written with each deletion.
/// Beyond that what lies between those of a log is in it.
pub const BRAKE_STRETCHES_MAX: usize = 512;

/// Deletes over one link within the window that always take effect at once; above this the brake looks at their share of the feed.
pub const BRAKE_DELETES_MIN: u64 = 100;

/// The share of a feed, in parts of a hundred, that may vanish over one link within the window before a person must approve.
pub const BRAKE_PERCENT: u64 = 10;

/// How long an origin lets its newest seal grow old. It is then said again, though nothing is new, so that other sites can tell a feed in which
/// nothing happens from one whose news are kept from them. A few hundred bytes a day and feed.
pub const SEAL_FRESH_MS: u64 = 24 * 60 * 60 * 1000;

/// The age of a feed's newest seal at which its sites say that it is stale: two seals did not come.
pub const SEAL_STALE_MS: u64 = 2 * SEAL_FRESH_MS;

/// Names of versions that a run's record tells each way and verb: enough to recognise a run by; all of them are in the log.
pub const MOVED_NAMES_MAX: usize = 20;

/// Webhooks of one site: each has a task, a cursor and at most one connection.
pub const WEBHOOKS_MAX: usize = 32;

/// Bytes of a webhook's URL: longer than any chat's or build server's.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;

/// How long a webhook's receiver may take to take a connection, on each of its addresses.
pub const WEBHOOK_CONNECT_MS_MAX: u64 = 10_000;

/// How long one attempt may take in all: a receiver should put the message aside and answer.
pub const WEBHOOK_ANSWER_MS_MAX: u64 = 15_000;

/// Bytes of an answer's head that are read; the rest of the answer never is. The least that the HTTP library takes.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 8 << 10;

/// The first wait after a failed attempt, and the longest: each is twice the one before.
pub const WEBHOOK_RETRY_MS_MIN: u64 = 1_000;
pub const WEBHOOK_RETRY_MS_MAX: u64 = 5 * 60 * 1000;

/// How long attempts may fail before somebody should hear of it: longer than a receiver's restart.
pub const WEBHOOK_FAILING_MS: u64 = 15 * 60 * 1000;

/// How old a message may be that is offered again; an older one gets one attempt. Alarms of the day before help nobody.
pub const WEBHOOK_OFFERED_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Runs in the proof of a fork: the peaks of two lengths, the ops right before the fork, and what lies between.
pub const FORK_PATH_MAX: usize = 512;

/// Ops before the shorter head of a fork that its proof tells one by one: a copied site is mostly found within a few ops, and to the op.
pub const FORK_TAIL_OPS: u64 = 64;

/// Proofs of forks kept for one feed: one a log, and only of authors with rights.
pub const FORKS_PER_FEED_MAX: usize = 256;

/// Proofs of forks and questions about heads in one frame: sixteen proofs of full length are under a third of it.
pub const FORKS_PER_FRAME_MAX: usize = 16;

/// Proofs and questions about heads taken of a peer in one session: each costs two signatures. An honest one has as many as there are forks.
pub const FORKS_HEARD_MAX: usize = 1024;

/// How long a life of a site's store counts as running after it last called: longer than any link's wait between two attempts that matter here.
pub const SITE_LIVES_MS: u64 = 15 * 60 * 1000;

/// Lives of one site that are remembered: a restored site has two for a while.
pub const SITE_LIVES_MAX: usize = 8;

/// Bytes one stream may have in flight. quinn-proto kills a connection whose stream has over 1,024
/// holes; a stream of 2 MiB in full packets cannot have that many.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// Bytes one connection may have in flight where there are few: three times the bandwidth-delay product of 100 Mbit/s at 600 ms.
pub const CONNECTION_WINDOW_BYTES: u32 = 24 << 20;

/// The least that one connection may have in flight, and what it has until it is known how many there are. Ops that came before their time
/// fill their stream, and beside them the frames for which they wait must have room: with less, both ends would wait for ever.
pub const CONNECTION_WINDOW_BYTES_MIN: u32 = 2 * STREAM_WINDOW_BYTES;

/// Bytes that one who calls may have in flight before it is known to be a site with a link: its first frames are less.
pub const CALLER_WINDOW_BYTES: u32 = 64 << 10;

/// Streams a peer may open in each direction beside the bulk lanes: control, ops and one being replaced.
pub const SPARE_STREAMS: u8 = 4;

/// Handshakes under way before newcomers must prove their address first, at the cost of a round trip.
pub const HANDSHAKES_UNPROVEN_MAX: usize = 64;

/// Handshakes of strangers of one network (a /24, or a /56 of IPv6) a second. A site that retries its links calls once in seconds; a
/// handshake is about a millisecond of work for each end.
pub const HANDSHAKES_A_SECOND: u64 = 10;

/// Handshakes of strangers of one network that are let through at once, after a pause: an office that comes back calls with all its sites.
pub const HANDSHAKES_AT_ONCE: u64 = 64;

/// Networks whose calls are counted: an IPv6 attacker has any number of them. 200 KiB.
pub const NETWORKS_REMEMBERED_MAX: usize = 4096;

/// Connection attempts waiting to be looked at. quinn's own default is 65,536.
pub const INCOMING_MAX: usize = 256;

/// Bytes buffered for all waiting attempts. quinn's own default is 100 MiB.
pub const INCOMING_BYTES_MAX: u64 = 4 << 20;

/// Bytes buffered for one waiting attempt: a first flight and its repeats.
pub const INCOMING_BYTES_EACH_MAX: u64 = 64 << 10;

/// How long a silent connection is believed.
pub const IDLE_MS_MAX: u32 = 30_000;

/// Sessions at once. Each holds a thread and its windows; few companies have so many sites that one of them is in touch with at once.
pub const SESSIONS_MAX: usize = 512;

/// Bytes that all connections together may have in flight, each way, beside [`CONNECTION_WINDOW_BYTES_MIN`] of each. Nineteen have the
/// window of a fast long link, [`CONNECTION_WINDOW_BYTES`].
pub const FLIGHT_BYTES_MAX: u64 = 400 << 20;

/// Bytes of control frames that wait to be written, of one session. Only a peer that asks and does not read gets there: reconciling a
/// million logs takes about this much.
pub const CONTROL_BYTES_MAX: usize = 64 << 20;

/// The same, of all sessions together: from there on whoever has more waiting than its share is given up.
pub const CONTROL_BYTES_ALL_MAX: usize = 256 << 20;

/// How long a visitor may take for its handshake: eight round trips of the longest link.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;

/// Admitted connections that wait to be taken up; further ones wait in their handshake.
pub const ADMITTED_WAITING_MAX: usize = 16;

/// Frames that wait in one outgoing lane: one being written, one ready behind it.
pub const LANE_FRAMES_MAX: usize = 2;

/// Frames read from all control and piece lanes and not yet handled. With one more in each reader's
/// hands that is at most 18 MiB; behind them the peer is slowed down by flow control.
pub const HEARD_FRAMES_MAX: usize = 8;

/// Ops frames read and not yet handled.
pub const HEARD_OPS_FRAMES_MAX: usize = 2;

/// How long a peer that finished its control stream may take to close the connection.
pub const GOODBYE_MS_MAX: u64 = 5_000;

/// How long the last control frames, a refusal mostly, may take to reach the peer before the connection is closed over them.
pub const FAREWELL_MS_MAX: u64 = 1_000;

/// Endings and steps of a link's runs that a slow listener may be behind by.
pub const WATCHED_MAX: usize = 64;

/// Events that a slow reader may be behind by before it is sent away.
pub const READER_BEHIND_MAX: usize = 1024;

/// Notes kept of one teller: its links times its feeds, for a large site.
pub const NOTES_PER_TELLER_MAX: usize = 256;

/// Progress lines that may wait for a slow reader; later ones replace what has no room.
pub const STEPS_WAITING_MAX: usize = 16;

/// Ops in one answer to a client that asks for the log: a page.
pub const LOG_OPS_MAX: usize = 1000;

/// How long an answer to a client may wait for the next op: under the half minute after which proxies give up.
pub const LOG_WAIT_MS_MAX: u64 = 25_000;

/// Events in one answer to a client: a page.
pub const RECENT_EVENTS_MAX: usize = 1000;

/// Bytes of a webhook's secret, at least and at most, by the Standard Webhooks specification.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 24;
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 64;
