//! Connections of ordered streams over the same lines, without packets: what sessions need of QUIC at a fraction of its cost.

use std::collections::{BTreeMap, VecDeque};

use protocol::id::SiteId;
use quinn_proto::{ConnectionHandle, Dir, Side, StreamId};

use super::{Heard, Talk};
use crate::net::{Net, SECOND};
use crate::trace::Trace;

/// A line that is silent for so long is given up, as by the node's settings.
const SILENT_MAX: u64 = 30 * SECOND;
/// A peer that started again is found out when it is next asked whether it is there.
const FOUND_OUT: u64 = 5 * SECOND;
/// Bytes of a stream that were written and not yet read.
const WINDOW: usize = 64 << 10;
/// Bytes that travel together.
const PARCEL: usize = 16 << 10;
/// Bytes of each leg of a greeting.
const GREETING: usize = 1200;
/// Legs of a greeting: the listener then knows who dialled.
const LEGS: u8 = 3;

/// One direction of a stream.
#[derive(Debug, Default)]
struct Flow {
    arrived: Vec<u8>,
    under_way: usize,
    /// When what was written last arrives: nothing overtakes it.
    last: u64,
    /// The writer has more.
    blocked: bool,
    /// Whether the reader knows of the stream.
    known: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Up,
    Gone,
}

/// One connection. End 0 dialled, end 1 was dialled.
#[derive(Debug)]
struct Joint {
    hosts: [usize; 2],
    dialler: SiteId,
    ends: [State; 2],
    opened: u64,
    /// Something on it will never arrive, so nothing behind it does.
    doomed: bool,
    parting: bool,
    /// By stream and the end that reads.
    flows: BTreeMap<(StreamId, usize), Flow>,
    /// Streams that the other end opened and that were not taken up.
    fresh: [VecDeque<StreamId>; 2],
}

#[derive(Debug)]
enum Due {
    Greeting {
        joint: usize,
        leg: u8,
    },
    Bytes {
        joint: usize,
        end: usize,
        stream: StreamId,
        bytes: Vec<u8>,
    },
    Room {
        joint: usize,
        end: usize,
    },
    Parted {
        joint: usize,
        end: usize,
    },
    /// The line has been silent long enough, if it is.
    Silent {
        joint: usize,
    },
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    now: u64,
    joints: BTreeMap<usize, Joint>,
    made: usize,
    due: BTreeMap<(u64, u64), Due>,
    serial: u64,
    heard: BTreeMap<usize, VecDeque<Heard>>,
}

const fn other(end: usize) -> usize {
    1 - end
}

impl Pipes {
    fn at(&mut self, time: u64, due: Due) {
        self.serial += 1;
        self.due.insert((time, self.serial), due);
    }

    fn talk(&self, joint: usize, end: usize) -> Option<Talk> {
        let host = *self.joints.get(&joint)?.hosts.get(end)?;
        Some(Talk { host, handle: ConnectionHandle(joint * 2 + end) })
    }

    fn tell(&mut self, joint: usize, end: usize, heard: impl FnOnce(Talk) -> Heard) {
        if let Some(talk) = self.talk(joint, end) {
            self.heard.entry(talk.host).or_default().push_back(heard(talk));
        }
    }

    fn end_of(&mut self, talk: Talk) -> Option<(usize, usize, &mut Joint)> {
        let (joint, end) = (talk.handle.0 / 2, talk.handle.0 % 2);
        let found = self.joints.get_mut(&joint)?;
        (found.ends.get(end) == Some(&State::Up)).then_some((joint, end, found))
    }

    /// A host begins a new life: its connections are gone, which the others find out.
    pub(super) fn boot(&mut self, host: usize) {
        let all: Vec<(usize, usize)> = self
            .joints
            .iter()
            .flat_map(|(joint, held)| {
                held.hosts.iter().enumerate().filter(|(_, of)| **of == host).map(|(end, _)| (*joint, end))
            })
            .collect();
        for (joint, end) in all {
            self.leave(joint, end);
            self.at(self.now + FOUND_OUT, Due::Parted { joint, end: other(end) });
        }
        self.heard.remove(&host);
    }

    /// Ends one end. Tells whether it stood.
    fn leave(&mut self, joint: usize, end: usize) -> bool {
        let Some(held) = self.joints.get_mut(&joint) else { return false };
        let was = held.ends.get_mut(end).map(|state| std::mem::replace(state, State::Gone));
        if held.ends == [State::Gone; 2] {
            self.joints.remove(&joint);
        }
        was.is_some_and(|was| was != State::Gone)
    }

    pub(super) fn dial(
        &mut self,
        now: u64,
        net: &mut Net,
        from: usize,
        to: usize,
        me: SiteId,
    ) -> Option<Talk> {
        self.now = now;
        let joint = self.made;
        self.made += 1;
        let held = Joint {
            hosts: [from, to],
            dialler: me,
            ends: [State::Greeting; 2],
            opened: 0,
            doomed: false,
            parting: false,
            flows: BTreeMap::new(),
            fresh: Default::default(),
        };
        self.joints.insert(joint, held);
        self.greet(net, joint, 0);
        self.talk(joint, 0)
    }

    fn greet(&mut self, net: &mut Net, joint: usize, leg: u8) {
        let Some([dialler, listener]) = self.joints.get(&joint).map(|held| held.hosts) else { return };
        let (from, to) = if leg.is_multiple_of(2) { (dialler, listener) } else { (listener, dialler) };
        let arrives = net.carry(self.now, from, to, GREETING, SILENT_MAX);
        match arrives {
            Some(at) => self.at(at, Due::Greeting { joint, leg: leg + 1 }),
            None => {
                for end in 0..2 {
                    self.at(self.now + SILENT_MAX, Due::Parted { joint, end });
                }
            }
        }
    }

    /// Lets arrive what is due.
    pub(super) fn step(&mut self, now: u64, net: &mut Net, trace: &mut Trace) {
        self.now = now;
        while let Some(first) = self.due.first_entry() {
            if first.key().0 > now {
                return;
            }
            match first.remove() {
                Due::Greeting { joint, leg } => self.greeted(net, joint, leg),
                Due::Bytes { joint, end, stream, bytes } => self.arrive(trace, joint, end, stream, &bytes),
                Due::Room { joint, end } => self.tell(joint, end, Heard::Stirred),
                Due::Parted { joint, end } => self.part(joint, end),
                Due::Silent { joint } => {
                    let hosts = self.joints.get(&joint).map(|held| held.hosts);
                    if hosts.is_some_and(|[one, other]| net.is_cut(now, one, other)) {
                        self.part(joint, 0);
                        self.part(joint, 1);
                    }
                }
            }
        }
    }

    fn greeted(&mut self, net: &mut Net, joint: usize, leg: u8) {
        let Some(held) = self.joints.get_mut(&joint) else { return };
        let ([one, other], dialler) = (held.hosts, held.dialler);
        // The dialler knows the listener after two legs, the listener knows the dialler after three.
        let [first, second] = &mut held.ends;
        match leg {
            2 if *first == State::Greeting => *first = State::Up,
            LEGS if *second == State::Greeting => *second = State::Up,
            2 | LEGS => return,
            _ => {}
        }
        match leg {
            2 => {
                self.tell(joint, 0, Heard::Connected);
                if let Some(silent) = net.silent_from(self.now, one, other, SILENT_MAX) {
                    self.at(silent + SILENT_MAX, Due::Silent { joint });
                }
            }
            LEGS => self.tell(joint, 1, |talk| Heard::Accepted(talk, dialler)),
            _ => {}
        }
        if leg < LEGS {
            self.greet(net, joint, leg);
        }
    }

    fn arrive(&mut self, trace: &mut Trace, joint: usize, end: usize, stream: StreamId, bytes: &[u8]) {
        let Some(held) = self.joints.get_mut(&joint) else { return };
        let from = held.hosts.get(other(end)).copied().unwrap_or(0);
        let to = held.hosts.get(end).copied().unwrap_or(0);
        trace.datagram(self.now, from, to, bytes);
        let opener = usize::from(stream.initiator() == Side::Server);
        if held.ends.get(end) == Some(&State::Gone) {
            return;
        }
        let flow = held.flows.entry((stream, end)).or_default();
        flow.under_way = flow.under_way.saturating_sub(bytes.len());
        flow.arrived.extend_from_slice(bytes);
        if !std::mem::replace(&mut flow.known, true)
            && opener != end
            && let Some(fresh) = held.fresh.get_mut(end)
        {
            fresh.push_back(stream);
        }
        self.tell(joint, end, Heard::Stirred);
    }

    fn part(&mut self, joint: usize, end: usize) {
        let talk = self.talk(joint, end);
        if self.leave(joint, end)
            && let Some(talk) = talk
        {
            self.heard.entry(talk.host).or_default().push_back(Heard::Lost(talk));
        }
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn hear(&mut self, host: usize) -> Option<Heard> {
        self.heard.get_mut(&host)?.pop_front()
    }

    pub(super) fn stands(&mut self, talk: Talk) -> bool {
        self.end_of(talk).is_some()
    }

    pub(super) fn open(&mut self, talk: Talk, dir: Dir) -> Option<StreamId> {
        let (_, end, joint) = self.end_of(talk)?;
        let side = if end == 0 { Side::Client } else { Side::Server };
        let stream = StreamId::new(side, dir, joint.opened);
        joint.opened += 1;
        Some(stream)
    }

    pub(super) fn accept(&mut self, talk: Talk, dir: Dir) -> Option<StreamId> {
        let (_, end, joint) = self.end_of(talk)?;
        let fresh = joint.fresh.get_mut(end)?;
        let at = fresh.iter().position(|stream| stream.dir() == dir)?;
        fresh.remove(at)
    }

    pub(super) fn write(&mut self, net: &mut Net, talk: Talk, stream: StreamId, bytes: &[u8]) -> usize {
        let now = self.now;
        let Some((id, end, joint)) = self.end_of(talk) else { return 0 };
        let reader = other(end);
        let [from, to] = [end, reader].map(|end| joint.hosts.get(end).copied().unwrap_or(0));
        let flow = joint.flows.entry((stream, reader)).or_default();
        let room = WINDOW.saturating_sub(flow.under_way + flow.arrived.len()).min(bytes.len());
        flow.blocked = room < bytes.len();
        flow.under_way += room;
        let mut parcels = Vec::new();
        for parcel in bytes.get(..room).unwrap_or_default().chunks(PARCEL) {
            if joint.doomed {
                break;
            }
            let Some(arrives) = net.carry(now, from, to, parcel.len(), SILENT_MAX) else {
                joint.doomed = true;
                break;
            };
            flow.last = flow.last.max(arrives);
            parcels.push((flow.last, parcel.to_vec()));
        }
        let doomed = joint.doomed && !std::mem::replace(&mut joint.parting, joint.doomed);
        for (at, bytes) in parcels {
            self.at(at, Due::Bytes { joint: id, end: reader, stream, bytes });
        }
        if doomed {
            for end in 0..2 {
                self.at(now + SILENT_MAX, Due::Parted { joint: id, end });
            }
        }
        room
    }

    pub(super) fn read(&mut self, net: &Net, talk: Talk, stream: StreamId, into: &mut Vec<u8>) {
        let now = self.now;
        let Some((id, end, joint)) = self.end_of(talk) else { return };
        let hosts = joint.hosts;
        let Some(flow) = joint.flows.get_mut(&(stream, end)) else { return };
        let blocked = !flow.arrived.is_empty() && std::mem::take(&mut flow.blocked);
        into.append(&mut flow.arrived);
        if blocked {
            self.at(now + net.delay(hosts), Due::Room { joint: id, end: other(end) });
        }
    }

    pub(super) fn close(&mut self, now: u64, net: &mut Net, talk: Talk) {
        self.now = now;
        let Some((joint, end, held)) = self.end_of(talk) else { return };
        let [from, to] = [end, other(end)].map(|end| held.hosts.get(end).copied().unwrap_or(0));
        self.leave(joint, end);
        let told = net.carry(now, from, to, 0, SILENT_MAX).unwrap_or(now + SILENT_MAX);
        // The bytes that went before it are there to be read first.
        self.at(told + 1, Due::Parted { joint, end: other(end) });
    }
}
