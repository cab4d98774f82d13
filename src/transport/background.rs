//! The congestion controllers of long links: `Background` fills the pipe, keeps the queue short and ignores loss that
//! is not its own; `Fixed` sends at a rate. No clock inside: they are functions of what quinn passes them.
//!
//! Background's law, once a round trip. The standing queue is the least round trip time of the round less the base, which is the least of
//! five minutes. Below the target (25 ms or a tenth of the base) the window grows, above it shrinks in
//! proportion; growth near the target is additive and shrinking multiplicative, so that two flows come to share.
//! Loss counts only over 8 % of a round. What a plain delay law gets wrong is mended by three more rules:
//! twice a minute the flow drains for two rounds and gives up a tenth, so that the base is not another flow's queue and late flows find room; a delay that stays and does not answer to
//! a smaller window is a new route and becomes the base; loss that comes with a queue below the target means the queue is shallow, and
//! the target moves below what it holds.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::limits::CONNECTION_WINDOW_BYTES;
use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};

use super::settings::INITIAL_WINDOW_BYTES;

#[cfg(test)]
mod tests;

/// The least standing queue that counts as one: below it, scheduling and radio jitter look the same.
const TARGET_MIN: Duration = Duration::from_millis(25);
/// The least a shallow queue can push the target down to.
const TARGET_SHALLOW_MIN: Duration = Duration::from_millis(6);
/// The queue as a part of the base round trip time that counts as one.
const TARGET_PART_OF_BASE: u32 = 10;
/// Loss over which the window shrinks whatever the delay says.
const LOSS_PERCENT_BORNE: u64 = 8;
/// Loss above the least seen of late that, with a queue, betrays a shallow one.
const LOSS_PERMILLE_OF_OVERFLOW: u64 = 15;
/// Packets after which a share of loss is worth judging.
const LOSS_SAMPLE_PACKETS: u64 = 64;
/// Shares of loss remembered to know what the link loses by itself.
const LOSS_SAMPLES: usize = 64;
/// Packets by which the window grows in a round close to the target.
const STEP_PACKETS: u64 = 4;
/// The least window: enough to see a loss by later acknowledgements.
const WINDOW_PACKETS_MIN: u64 = 4;
/// One part of the base's memory; ten parts make five minutes.
const BASE_PART: Duration = Duration::from_secs(30);
const BASE_PARTS: usize = 10;
/// How often a busy flow drains the queue.
const DRAIN_EVERY: Duration = Duration::from_secs(30);
/// How long, in time and rounds, a delay must stand still to be a new route.
const ROUTE_TIME: Duration = Duration::from_secs(10);
const ROUTE_ROUNDS: u32 = 16;
/// Samples of a round after which slow start believes its least.
const SLOW_START_SAMPLES: u32 = 8;

/// Makes the controllers of [`Pace::Background`](super::settings::Pace::Background).
#[derive(Debug, Clone, Copy)]
pub struct Background;

impl ControllerFactory for Background {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Flow::new(now, current_mtu))
    }
}

/// The least round trip time of the last five minutes.
#[derive(Debug, Clone, Default)]
struct Base {
    parts: VecDeque<(Instant, Duration)>,
}

impl Base {
    fn observe(&mut self, now: Instant, rtt: Duration) {
        match self.parts.back_mut() {
            Some((began, least)) if now.saturating_duration_since(*began) < BASE_PART => {
                *least = rtt.min(*least);
            }
            Some(_) | None => {
                self.parts.push_back((now, rtt));
                if self.parts.len() > BASE_PARTS {
                    self.parts.pop_front();
                }
            }
        }
    }

    fn least(&self) -> Option<Duration> {
        self.parts.iter().map(|(_began, least)| *least).min()
    }
}

/// What one round trip showed.
#[derive(Debug, Clone)]
struct Round {
    began: Instant,
    over: bool,
    samples: u32,
    acked: u64,
    acked_limited: u64,
    least: Duration,
    /// The greatest of the batches' least: the queue at its longest, without delays of acknowledging.
    peak: Duration,
    marked: bool,
}

impl Round {
    fn new(began: Instant) -> Self {
        Self {
            began,
            over: false,
            samples: 0,
            acked: 0,
            acked_limited: 0,
            least: Duration::MAX,
            peak: Duration::ZERO,
            marked: false,
        }
    }

    /// Whether the application, not the window, decided how much was sent.
    fn limited(&self) -> bool {
        self.acked_limited * 2 > self.acked
    }
}

/// Loss, judged over enough packets.
#[derive(Debug, Clone, Default)]
struct Loss {
    acked: u64,
    lost: u64,
    recent_permille: VecDeque<u64>,
}

/// What the loss of late means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Bearable,
    /// More than the link loses by itself.
    Rising,
    Heavy,
}

impl Loss {
    fn judge(&mut self, mtu: u64) -> Verdict {
        let sent = self.acked + self.lost;
        if sent < LOSS_SAMPLE_PACKETS * mtu {
            return Verdict::Bearable;
        }
        let permille = self.lost * 1000 / sent;
        let usual = self.recent_permille.iter().copied().min().unwrap_or(permille);
        self.recent_permille.push_back(permille);
        if self.recent_permille.len() > LOSS_SAMPLES {
            self.recent_permille.pop_front();
        }
        (self.acked, self.lost) = (0, 0);
        if permille > LOSS_PERCENT_BORNE * 10 {
            Verdict::Heavy
        } else if permille > usual + LOSS_PERMILLE_OF_OVERFLOW {
            Verdict::Rising
        } else {
            Verdict::Bearable
        }
    }
}

/// A delay over the target that stands still.
#[derive(Debug, Clone)]
struct Plateau {
    since: Instant,
    rounds: u32,
    least: Duration,
    most: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    SlowStart,
    Steady,
    /// Sending half of `resume` for this many more rounds.
    Drain {
        resume: u64,
        rounds: u8,
    },
}

/// One connection's window.
#[derive(Debug, Clone)]
struct Flow {
    mtu: u64,
    window: u64,
    phase: Phase,
    round: Round,
    batch_least: Duration,
    base: Base,
    loss: Loss,
    plateau: Option<Plateau>,
    /// The target a shallow queue allows.
    shallow: Option<Duration>,
    calm_rounds: u32,
    drained: Instant,
}

impl Flow {
    fn new(now: Instant, mtu: u16) -> Self {
        Self {
            mtu: u64::from(mtu),
            window: INITIAL_WINDOW_BYTES,
            phase: Phase::SlowStart,
            round: Round::new(now),
            batch_least: Duration::MAX,
            base: Base::default(),
            loss: Loss::default(),
            plateau: None,
            shallow: None,
            calm_rounds: 0,
            drained: now,
        }
    }

    fn target(&self, base: Duration) -> Duration {
        let usual = TARGET_MIN.max(base / TARGET_PART_OF_BASE);
        self.shallow.map_or(usual, |shallow| shallow.min(usual))
    }

    fn set_window(&mut self, window: u64) {
        self.window = window.clamp(WINDOW_PACKETS_MIN * self.mtu, u64::from(CONNECTION_WINDOW_BYTES) * 2);
    }

    fn scale_window(&mut self, permille: u64) {
        self.set_window(self.window * permille / 1000);
    }

    fn end_round(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Round::new(now));
        let Some(base) = self.base.least() else { return };
        self.loss.acked += round.acked;
        let verdict = self.loss.judge(self.mtu);
        self.learn_depth(verdict, round.peak.saturating_sub(base), base);
        let (queue, target) = (round.least.saturating_sub(base), self.target(base));
        if let Phase::Drain { resume, rounds } = self.phase {
            self.drain_on(now, resume, rounds);
            return;
        }
        if self.follow_route(now, &round, queue > target, target) {
            return;
        }
        if verdict == Verdict::Heavy {
            self.scale_window(700);
            self.leave_slow_start(now);
        } else if round.marked {
            self.scale_window(850);
            self.leave_slow_start(now);
        } else if self.phase == Phase::SlowStart {
            // What is acknowledged was sent a round ago, from half the window.
            if queue > target {
                self.scale_window(500);
                self.leave_slow_start(now);
            }
        } else {
            self.steer(queue, target, round.limited());
            if !round.limited() && now.saturating_duration_since(self.drained) >= DRAIN_EVERY {
                self.phase = Phase::Drain { resume: self.window, rounds: 2 };
                self.scale_window(500);
            }
        }
    }

    fn leave_slow_start(&mut self, now: Instant) {
        if self.phase == Phase::SlowStart {
            self.phase = Phase::Steady;
            self.drained = now;
            self.calm_rounds = 0;
        }
    }

    fn drain_on(&mut self, now: Instant, resume: u64, rounds: u8) {
        if rounds > 1 {
            self.phase = Phase::Drain { resume, rounds: rounds - 1 };
            return;
        }
        self.phase = Phase::Steady;
        self.drained = now;
        self.set_window(resume * 9 / 10);
    }

    /// The steady law: up in steps below the target, down in proportion above it.
    fn steer(&mut self, queue: Duration, target: Duration, limited: bool) {
        let permille = micros(queue) * 1000 / micros(target).max(1);
        if permille > 1000 {
            self.calm_rounds = 0;
            let excess = (permille - 1000).min(1000);
            self.scale_window(920 - excess * 7 / 100);
            return;
        }
        if limited {
            return;
        }
        self.calm_rounds = if permille < 250 { self.calm_rounds.saturating_add(1) } else { 0 };
        let near = STEP_PACKETS * self.mtu;
        let step = if self.calm_rounds > 3 { (self.window / 8).max(near) } else { near };
        self.set_window(self.window + step * (1000 - permille) / 1000);
    }

    /// Loss that rises while the queue is under the usual target came from a queue that holds no more than this.
    fn learn_depth(&mut self, verdict: Verdict, peak: Duration, base: Duration) {
        let usual = TARGET_MIN.max(base / TARGET_PART_OF_BASE);
        match verdict {
            Verdict::Rising | Verdict::Heavy if peak < usual * 2 => {
                self.shallow = Some((peak / 2).clamp(TARGET_SHALLOW_MIN, usual));
            }
            Verdict::Bearable | Verdict::Rising | Verdict::Heavy => {
                self.shallow =
                    self.shallow.map(|shallow| shallow * 201 / 200).filter(|shallow| *shallow < usual);
            }
        }
    }

    /// Takes a delay that stands still for the base of a new route; says whether it did.
    fn follow_route(&mut self, now: Instant, round: &Round, queued: bool, target: Duration) -> bool {
        if !queued {
            self.plateau = None;
            return false;
        }
        let fresh = Plateau { since: now, rounds: 0, least: round.least, most: round.least };
        let mut plateau = self.plateau.take().unwrap_or_else(|| fresh.clone());
        plateau.rounds += 1;
        plateau.least = plateau.least.min(round.least);
        plateau.most = plateau.most.max(round.least);
        if plateau.most - plateau.least > target {
            plateau = fresh;
        }
        let stood =
            now.saturating_duration_since(plateau.since) >= ROUTE_TIME && plateau.rounds >= ROUTE_ROUNDS;
        if stood {
            self.base = Base::default();
            self.base.observe(now, plateau.least);
            self.phase = Phase::SlowStart;
        } else {
            self.plateau = Some(plateau);
        }
        stood
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Controller for Flow {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, _rtt: &RttEstimator) {
        let sample = now.saturating_duration_since(sent);
        self.base.observe(now, sample);
        self.batch_least = self.batch_least.min(sample);
        self.round.samples += 1;
        self.round.acked += bytes;
        self.round.least = self.round.least.min(sample);
        self.round.over |= sent >= self.round.began;
        if app_limited {
            self.round.acked_limited += bytes;
        } else if self.phase == Phase::SlowStart {
            self.set_window(self.window + bytes);
        }
    }

    fn on_end_acks(&mut self, now: Instant, _in_flight: u64, _app_limited: bool, _largest: Option<u64>) {
        if self.batch_least < Duration::MAX {
            self.round.peak = self.round.peak.max(self.batch_least);
            self.batch_least = Duration::MAX;
        }
        let queued =
            self.base.least().is_some_and(|base| self.round.least.saturating_sub(base) > self.target(base));
        let early = self.phase == Phase::SlowStart && self.round.samples >= SLOW_START_SAMPLES && queued;
        if self.round.over || early {
            self.end_round(now);
        }
    }

    fn on_congestion_event(
        &mut self,
        _now: Instant,
        _sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        if is_persistent_congestion {
            self.loss = Loss::default();
            self.phase = Phase::SlowStart;
            self.set_window(0);
        } else if lost_bytes == 0 {
            self.round.marked = true;
        } else {
            self.loss.lost += lost_bytes;
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = u64::from(new_mtu);
        self.set_window(self.window);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_WINDOW_BYTES
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Makes the controllers of [`Pace::Fixed`](super::settings::Pace::Fixed): the window is rate times round trip time.
#[derive(Debug, Clone, Copy)]
pub struct Fixed {
    /// Bytes of packets a second, repeats included.
    pub bytes_per_second: u64,
}

impl ControllerFactory for Fixed {
    fn build(self: Arc<Self>, _now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(FixedFlow { rate: *self, mtu: u64::from(current_mtu), window: INITIAL_WINDOW_BYTES })
    }
}

#[derive(Debug, Clone)]
struct FixedFlow {
    rate: Fixed,
    mtu: u64,
    window: u64,
}

impl Controller for FixedFlow {
    fn on_ack(&mut self, _now: Instant, _sent: Instant, _bytes: u64, _app_limited: bool, rtt: &RttEstimator) {
        // A queue of the flow's own making must not feed it: at most twice the least is believed.
        let rtt = rtt.get().min(rtt.min() * 2);
        let window = self.rate.bytes_per_second.saturating_mul(micros(rtt)) / 1_000_000;
        self.window = window.clamp(WINDOW_PACKETS_MIN * self.mtu, u64::from(CONNECTION_WINDOW_BYTES) * 2);
    }

    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, _persistent: bool, _lost_bytes: u64) {}

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = u64::from(new_mtu);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_WINDOW_BYTES
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
